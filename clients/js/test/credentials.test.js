// The credential: its forms, its header and its texts. Requests to REST. Renewal before it expires.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { inspect } from "node:util";
import { FXDataPipelineClient } from "tickwire-client";
import { Credentials, masked } from "../src/credentials.js";
import { answerError, closeError, connectionError, handshakeError } from "../src/errors.js";
import { Renewal } from "../src/renewal.js";
import { Rest } from "../src/rest.js";

const KEY = `tw_abcdefgh_${"s".repeat(43)}`;
const JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl";

test("credential: value or function, text or object", async () => {
  const forms = [
    [undefined, null, {}],
    [null, null, {}],
    [KEY, { api_key: KEY }, { Authorization: `Bearer ${KEY}` }],
    [JWT, { token: JWT }, { Authorization: `Bearer ${JWT}` }],
    [` ${JWT}\n`, { token: JWT }, { Authorization: `Bearer ${JWT}` }],
    [{ api_key: KEY }, { api_key: KEY }, { Authorization: `Bearer ${KEY}` }],
    [{ token: KEY }, { token: KEY }, { Authorization: `Bearer ${KEY}` }],
    [{ scopes: ["read"] }, { scopes: ["read"] }, {}],
  ];
  for (const [auth, payload, headers] of forms)
    for (const given of [auth, () => auth, async () => auth]) {
      const credentials = new Credentials(given);
      assert.deepEqual(await credentials.renew(1000), payload);
      assert.deepEqual(credentials.payload, payload);
      assert.deepEqual(await credentials.headers(1000), headers);
    }
});

test("credential: a wrong value is refused without its text", async () => {
  for (const auth of ["", "a b", "é", "a\nb", "x".repeat(4097), 7, ["x"], { token: 7 }, { api_key: "a b" }]) {
    assert.throws(() => new FXDataPipelineClient("http://127.0.0.1:1", { auth }), {
      name: "TypeError",
      message: /^The credential (must be a key or a JWT|has more than)/,
    });
    await assert.rejects(new Credentials(() => auth).renew(1000), { code: "auth_failed" });
  }
});

test("credential: not in the address", () => {
  for (const name of ["api_key", "token", "access_token"])
    for (const [url, restUrl] of [
      [`http://127.0.0.1:1?${name}=${KEY}`],
      ["http://127.0.0.1:1", `http://127.0.0.1:1?${name}=${KEY}`],
    ])
      assert.throws(() => new FXDataPipelineClient(url, { restUrl }), {
        message: `A credential must not be in the address: use the option auth, not ${name}.`,
      });
  assert.throws(() => new FXDataPipelineClient(KEY), { message: /^"tw_abcdefgh_\*\*\*" is no address/ });
});

test("credential: a function that fails or is late is called again", async () => {
  const results = [() => Promise.reject(new Error(`HTTP 500 for ${JWT}.`)), () => new Promise(() => {}), () => KEY];
  const credentials = new Credentials(() => results.shift()());
  await assert.rejects(credentials.renew(1000), { message: "The function `auth` failed: HTTP 500 for ***." });
  await assert.rejects(credentials.renew(50), { message: /^The function `auth` failed: it did not return within 0.1 s\.$/ });
  assert.deepEqual(await credentials.renew(0), { api_key: KEY });
});

test("credential: simultaneous calls share one call of the function", async () => {
  let calls = 0;
  const credentials = new Credentials(async () => `t${(calls += 1)}`);
  assert.deepEqual(await Promise.all([credentials.renew(1000), credentials.renew(1000)]), [{ token: "t1" }, { token: "t1" }]);
  assert.deepEqual(await credentials.renew(1000), { token: "t2" });
});

test("credential: masked in texts, not shown by inspect", async () => {
  assert.equal(masked(`${KEY}, "${JWT}" and 1.2.3`), 'tw_abcdefgh_***, "***" and 1.2.3');
  for (const auth of [KEY, { token: JWT }, () => KEY]) {
    const client = new FXDataPipelineClient("http://127.0.0.1:1", { auth });
    const credentials = new Credentials(auth);
    await credentials.renew(1000);
    const shown = [client, credentials].map((each) => inspect(each, { depth: 20, showHidden: true }) + JSON.stringify(each)).join();
    assert.doesNotMatch(shown, /tw_|eyJ/);
  }
});

test("errors: the code of an HTTP answer is that of its body, else of its status", () => {
  const of = (...answer) => (({ code, reason, details }) => [code, reason, details])(answerError(...answer));
  const body = (code, details) => JSON.stringify({ error: { code, message: "No.", details } });
  assert.deepEqual(of(429, "4", body("too_many_requests", {}), "http"), ["too_many_requests", "No.", { retry_after: 4 }]);
  assert.deepEqual(of(503, "4", body("server_full", { retry_after: 7 }), "http"), ["server_full", "No.", { retry_after: 7 }]);
  assert.deepEqual(of(429, null, '{"code":3,"message":"Too many"}', "http"), ["too_many_requests", "Too many", {}]);
  assert.deepEqual(of(401, "soon", "<html>", "http"), ["unauthorized", "HTTP 401", {}]);
  assert.deepEqual(of(502, "", "null", "http"), ["unavailable", "HTTP 502", {}]);
  assert.deepEqual(of(404, undefined, "", "http"), ["http", "HTTP 404", {}]);
  assert.equal(handshakeError("http://h", 404, undefined, "").code, "unreachable");
  assert.equal(closeError(4401).code, "unauthorized");
  assert.equal(closeError(4403).code, "forbidden");
  assert.equal(closeError(4429).code, "too_many_requests");
  assert.equal(closeError(1006), null);
});

test("errors: a polling handshake has status, header and body", () => {
  const context = { status: 429, responseText: '{"code":3,"message":"Too many"}', getResponseHeader: (name) => ({ "retry-after": "9" })[name] };
  const error = connectionError("http://h", Object.assign(new Error("xhr poll error"), { description: 429, context }));
  assert.deepEqual([error.code, error.details], ["too_many_requests", { retry_after: 9 }]);
  const failed = connectionError("http://h", Object.assign(new Error("xhr poll error"), { description: 0, context: { status: 0 } }));
  assert.equal(failed.code, "unreachable");
});

/** A server whose answers are [status, headers, body], the last one again and again. */
async function serving(answers, use) {
  const seen = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    const [status, headers, body] = answers.length > 1 ? answers.shift() : answers[0];
    response.writeHead(status, headers).end(JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${server.address().port}/`, seen);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const error = (code) => ({ error: { code, message: "No.", details: {} } });

test("rest: a refused credential is renewed once", async () => {
  await serving([[401, {}, error("unauthorized")], [200, {}, { ok: 1 }]], async (url, seen) => {
    const tokens = ["t1", "t2"];
    const rest = new Rest(url, new Credentials(() => tokens.shift()));
    assert.deepEqual(await rest.request("/x", { timeout: 5000 }), { ok: 1 });
    assert.deepEqual(seen, ["Bearer t1", "Bearer t2"]);
  });
  await serving([[401, {}, error("unauthorized")]], async (url, seen) => {
    await assert.rejects(new Rest(url, new Credentials(() => KEY)).request("/x", { timeout: 5000 }), { code: "unauthorized" });
    await assert.rejects(new Rest(url, new Credentials(KEY)).request("/x", { timeout: 5000 }), { code: "unauthorized" });
    assert.equal(seen.length, 3);
  });
});

test("rest: 429 is waited out within the time limit", async () => {
  const refusal = [429, { "Retry-After": "1" }, error("too_many_requests")];
  await serving([refusal, [200, {}, { ok: 1 }]], async (url, seen) => {
    const rest = new Rest(url, new Credentials(null));
    assert.deepEqual(await rest.request("/x", { timeout: 5000 }), { ok: 1 });
    assert.deepEqual(seen, [undefined, undefined]);
  });
  await serving([refusal], async (url) => {
    const found = await new Rest(url, new Credentials(null)).request("/x", { timeout: 500 }).catch((each) => each);
    assert.deepEqual([found.code, found.details, found.local], ["too_many_requests", { retry_after: 1 }, true]);
  });
  await serving([[429, {}, error("too_many_requests")]], async (url, seen) => {
    await assert.rejects(new Rest(url, new Credentials(null)).request("/x", { timeout: 5000 }), { code: "too_many_requests" });
    assert.equal(seen.length, 1);
  });
});

test("rest: a missing right is refused with its details", async () => {
  const body = { error: { code: "forbidden", message: "No.", details: { scope: ["publish"] } } };
  await serving([[403, {}, body]], async (url) => {
    const client = new FXDataPipelineClient("http://127.0.0.1:1", { restUrl: url, auth: KEY });
    const found = await client.publish({ instrument: "EUR_USD", mid: "1" }).catch((each) => each);
    assert.deepEqual([found.code, found.event, found.details], ["forbidden", "publish", { scope: ["publish"] }]);
  });
});

/** A renewal with the given results of the function and answers of the hub; what it did. */
async function renewal(results, answers, seconds = 60) {
  const did = [];
  const credentials = new Credentials(async () => {
    const next = results.length > 1 ? results.shift() : results[0];
    if (next instanceof Error) throw next;
    return next;
  });
  await credentials.renew(1000);
  const subject = new Renewal(credentials, {
    send: async (token) => (did.push(token), answers.shift()),
    reconnect: () => did.push("reconnect"),
    failed: ({ code }) => did.push(code),
  });
  await subject.expiring({ in_seconds: seconds });
  return did;
}

test("renewal: sends a new token, takes a new connection for a new key", async () => {
  assert.deepEqual(await renewal(["t1", "t2"], [{ expires_at: null }]), ["t2"]);
  assert.deepEqual(await renewal([KEY, "tw_abcdefgi_x"], []), ["reconnect"]);
  assert.deepEqual(await renewal(["t1", "t2"], [null]), ["t2"], "the connection is lost");
});

test("renewal: tries again after a failure, the old token or a busy hub, not after a refusal", async () => {
  const [busy, refused] = ["too_many_requests", "unauthorized"].map((code) => ({ code, message: "", details: {} }));
  assert.deepEqual(await renewal(["t1", new Error("no"), "t1", "t2"], [busy, {}], 4), ["auth_failed", "t2", "t2"]);
  assert.deepEqual(await renewal(["t1", "t2"], [refused]), ["t2"]);
  assert.deepEqual(await renewal(["t1"], [], 1), [], "ends with the credential");
});
