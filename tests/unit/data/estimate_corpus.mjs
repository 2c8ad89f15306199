// Counts the tokens of estimate_corpus.txt anew, in place: run it after adding texts.
//
//   npm install --no-save gpt-tokenizer && node tests/unit/data/estimate_corpus.mjs
//
// Each text follows a line "%% language tokens" and ends before the next such line (its last line
// end does not belong to it).
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.cwd() + "/"));
const { encode } = require("gpt-tokenizer/encoding/o200k_base");
const path = new URL("estimate_corpus.txt", import.meta.url);

const texts = readFileSync(path, "utf8").split(/^%% /m).slice(1);
const counted = texts.map((entry) => {
  const at = entry.indexOf("\n");
  const language = entry.slice(0, at).split(" ")[0];
  const text = entry.slice(at + 1);
  return `%% ${language} ${encode(text.replace(/\n$/, "")).length}\n${text}`;
});
writeFileSync(path, counted.join(""));
console.log(`${counted.length} texts`);
