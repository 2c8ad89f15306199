// Holds, and the charge for an answer without usage, rest on an estimate that is judged by a corpus of counted texts: were
// the counts wrong, so would be the money.
import test from "node:test";
import assert from "node:assert/strict";
import { countTokens, readCorpus } from "./lib/corpus.mjs";

test("the counts by which the token estimate is judged are the tokenizer's own", () => {
  const texts = readCorpus();
  assert.ok(texts.length >= 200, `${texts.length} texts`);
  assert.ok(new Set(texts.map((t) => t.language)).size >= 7, "six languages and code");
  for (const t of texts) assert.equal(countTokens(t.text), t.tokens, `${t.language}: ${t.text.slice(0, 40)}`);
});
