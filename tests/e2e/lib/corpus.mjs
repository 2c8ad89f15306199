// The texts by which the token estimate is judged: tests/unit/data/estimate_corpus.txt. Each text follows a line
// "%% language tokens" and ends before the next such line (its last line end does not belong to it). tests/unit/domain_estimate.c
// holds the estimate against the stored numbers; estimate.test.mjs holds the numbers against gpt-tokenizer.
//
//   node tests/e2e/lib/corpus.mjs     counts them anew, in place: run it after adding texts
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { encode } from "gpt-tokenizer/encoding/o200k_base";

const path = new URL("../../unit/data/estimate_corpus.txt", import.meta.url);

export function readCorpus() {
  return readFileSync(path, "utf8").split(/^%% /m).slice(1).map((entry) => {
    const at = entry.indexOf("\n");
    const [language, tokens] = entry.slice(0, at).split(" ");
    return { language, tokens: Number(tokens), text: entry.slice(at + 1) };
  });
}

export const countTokens = (text) => encode(text.replace(/\n$/, "")).length;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const texts = readCorpus();
  writeFileSync(path, texts.map((t) => `%% ${t.language} ${countTokens(t.text)}\n${t.text}`).join(""));
  console.log(`${texts.length} texts`);
}
