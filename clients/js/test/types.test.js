// Checks index.d.ts: it compiles, accepts correct programs, rejects wrong ones, matches the class.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import ts from "typescript";
import { FXDataPipelineClient } from "tickwire-client";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

/** Messages of the compiler about index.d.ts, the example program and types.ts. */
function complaints() {
  const { options, fileNames, errors } = ts.getParsedCommandLineOfConfigFile(
    path("tsconfig.json"),
    {},
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: assert.fail },
  );
  assert.deepEqual(errors, []);
  const host = ts.createCompilerHost(options);
  // With `skipLibCheck`, which users have, the compiler skips .d.ts files. So it gets ours under
  // another name as well.
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

test("types, types.ts and example program: compile without messages", () => {
  assert.deepEqual(complaints(), []);
});

test("types: declare exactly the members of the class", async () => {
  const { outputText } = ts.transpileModule(ts.sys.readFile(path("types.ts")), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const standalone = outputText.replaceAll(/^import .*$/gm, "");
  const { members } = await import(`data:text/javascript,${encodeURIComponent(standalone)}`);
  const there = [...Object.getOwnPropertyNames(FXDataPipelineClient.prototype), ...Object.keys(new FXDataPipelineClient())];
  assert.deepEqual(Object.keys(members).sort(), there.filter((name) => name !== "constructor").sort());
});
