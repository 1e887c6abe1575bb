// @ts-check
/** The composition root of the page: configuration, store, connection, views, router. */
import { startAlerts } from "./alerts/alerts.js";
import { createAnnouncer } from "./shell/announce.js";
import { applyAppearance } from "./appearance.js";
import { clock } from "./clock.js";
import { loadConfig } from "./config.js";
import { startFeed } from "./shell/feed.js";
import { createFind } from "./shell/find.js";
import { createHub } from "./hub.js";
import { createKeys } from "./keys.js";
import { startNotices } from "./shell/notices.js";
import { createPaint } from "./paint.js";
import { mountBanner } from "./parts/banner.js";
import { mountFooter } from "./parts/shell/footer.js";
import { mountFrame } from "./parts/frame.js";
import { mountSignIn } from "./parts/signin.js";
import { mountStage } from "./parts/shell/stage.js";
import { mountTopBar } from "./parts/shell/topbar.js";
import { createRest } from "./rest.js";
import { createRouter } from "./router.js";
import { createSession } from "./session.js";
import { createSettings } from "./settings.js";
import { bindGlobalKeys, watchVersion } from "./shell/shell.js";
import { followSession, untilAnswer } from "./shell/start.js";
import { createStore } from "./store.js";
import { list as mountList } from "./views/market.js";

/** @param {string} id */
const place = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

async function start() {
  const settings = createSettings();
  applyAppearance(settings);
  const session = createSession();
  const rest = createRest(session);
  const banner = mountBanner(place("banner"));
  const config = await untilAnswer(() => loadConfig(rest), banner);
  const paint = createPaint(clock);
  const store = createStore(clock, (symbol, updates) => paint.mark(symbol, updates));
  const hub = createHub({ config, clock, session, store });
  const announce = createAnnouncer(place("announcer"));
  const base = { config, store, paint, clock, rest, hub, session, settings, announce };
  /** @type {import("./types.js").App} */
  const app = { ...base, router: createRouter(), keys: createKeys(settings), find: createFind() };
  globalThis.tickwire = { store, hub, version: config.version, paint };

  const feed = startFeed(app);
  const notices = startNotices(app, banner);
  const frame = mountFrame(app, place("frame"));
  mountTopBar(app, place("top"), notices);
  mountFooter(app, place("foot"));
  mountList(app, place("list"));
  const stage = mountStage(app, place("view"), frame.title);
  bindGlobalKeys(app, notices);
  watchVersion(app, banner);
  mountSignIn(app, place("signin"));
  followSession(app, feed, stage);
  startAlerts(app);
}

start();
