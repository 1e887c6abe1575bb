// Opens a page in happy-dom: node page.mjs URL. Prints the text of the page as a line of JSON, with
// the number of points of its chart, each time it changes.
import { Browser } from "happy-dom";
import { WebSocket } from "ws";

const url = process.argv[2];
const settings = { enableJavaScriptEvaluation: true, suppressInsecureJavaScriptEnvironmentWarning: true };
const page = new Browser({ settings, console }).newPage();
page.url = url;
page.mainFrame.window.WebSocket = class extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { origin: new URL(url).origin }); // as a browser sends it
  }
};
page.content = await (await fetch(url)).text();

let shown = "";
setInterval(() => {
  const { document } = page.mainFrame;
  const points = (document.querySelector("polyline")?.getAttribute("points") ?? "").split(" ").filter(Boolean);
  const texts = [...document.querySelectorAll("p, th, td")].map((element) => element.textContent);
  const now = JSON.stringify({ text: texts.join(" "), points: points.length });
  if (now !== shown) console.log((shown = now));
}, 50);
