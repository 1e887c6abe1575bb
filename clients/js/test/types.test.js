// The types are sound, accept what users write, refuse what is wrong, and promise exactly the members that the class has.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import ts from "typescript";
import { FXDataPipelineClient } from "tickwire-client";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

/** What the compiler has to say about programs that use the types, the example among them, and about index.d.ts itself. */
function complaints() {
  const { options, fileNames, errors } = ts.getParsedCommandLineOfConfigFile(
    path("tsconfig.json"),
    {},
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: assert.fail },
  );
  assert.deepEqual(errors, []);
  const host = ts.createCompilerHost(options);
  // The compiler spares .d.ts files (`skipLibCheck`, as users have it), so ours is given to it once more under another name.
  const ours = path("index_d.ts");
  const source = ts.sys.readFile(path("../src/index.d.ts")).replaceAll("export class", "export declare class");
  const { readFile, fileExists } = host;
  host.readFile = (name) => (name === ours ? source : readFile(name));
  host.fileExists = (name) => name === ours || fileExists(name);
  const program = ts.createProgram([...fileNames, ours], options, host);
  return ts
    .getPreEmitDiagnostics(program)
    .map((each) => `${each.file?.fileName}:${each.start}: ${ts.flattenDiagnosticMessageText(each.messageText, " ")}`);
}

test("the types, programs that use them, and the example pass the compiler", () => {
  assert.deepEqual(complaints(), []);
});

test("the types promise what the class has, and nothing else", async () => {
  const { outputText } = ts.transpileModule(ts.sys.readFile(path("types.ts")), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const standalone = outputText.replaceAll(/^import .*$/gm, "");
  const { members } = await import(`data:text/javascript,${encodeURIComponent(standalone)}`);
  const there = [...Object.getOwnPropertyNames(FXDataPipelineClient.prototype), ...Object.keys(new FXDataPipelineClient())];
  assert.deepEqual(Object.keys(members).sort(), there.filter((name) => name !== "constructor").sort());
});
