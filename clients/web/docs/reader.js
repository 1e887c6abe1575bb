// Starts the readers of the OpenAPI document, /docs and /redoc. If callers need a key, the page takes
// one. The key stays in the memory of the page: it is in no storage, no cookie and no URL.

const root = new URL(".", document.baseURI); // of REST, also below the path of a proxy
const place = document.getElementById("reader");
const form = document.getElementById("key");
const [input, button, state] = ["input", "button", "output"].map((name) => form.querySelector(name));
let key = "";

const readers = {
  swagger(spec) {
    SwaggerUIBundle({ spec, domNode: place, deepLinking: true, validatorUrl: null, requestInterceptor: withKey });
  },
  redoc(spec) {
    Redoc.init(spec, {}, place);
  },
};

// Adds the key to a request of "Try it out", if it goes to this REST and has no credential yet.
function withKey(request) {
  const sent = Object.keys(request.headers ?? {}).some((name) => /^(authorization|x-api-key)$/i.test(name));
  if (key && !sent && request.url.startsWith(root.href)) {
    request.headers = { ...request.headers, "X-API-Key": key };
  }
  return request;
}

async function load() {
  state.textContent = "";
  const headers = key ? { "X-API-Key": key } : {};
  let answer, body;
  try {
    answer = await fetch(new URL("openapi.json", root), { headers, cache: "no-store", credentials: "omit" });
    body = await answer.json();
  } catch {
    state.textContent = "The document could not be loaded. Try again.";
    return;
  }
  if (!answer.ok) {
    state.textContent = key || answer.status !== 401 ? body.error.message : "Callers need a key with the scope read.";
    return;
  }
  body.servers = [{ url: root.href.replace(/\/$/, "") }];
  place.replaceChildren();
  readers[document.body.dataset.reader](body);
}

function use() {
  key = input.value.trim();
  input.value = "";
  return load();
}

button.addEventListener("click", use);
input.addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    use();
  }
});
load();
