// Lints openapi.json by the rules of redocly.yaml, and prints what is wrong.
import { fileURLToPath } from "node:url";
import { formatProblems, getTotals, lint, loadConfig } from "@redocly/openapi-core";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const config = await loadConfig({ configPath: here("redocly.yaml") });
const problems = await lint({ ref: here("../../openapi.json"), config });
if (problems.length) formatProblems(problems, { totals: getTotals(problems), format: "codeframe" });
process.exitCode = problems.length ? 1 : 0;
