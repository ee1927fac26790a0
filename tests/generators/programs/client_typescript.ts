// The TypeScript client: renewal of the access token, pages, and errors.
import assert from "node:assert/strict";
import { ApiError, ok, StudySmart, type Schemas, type Tokens } from "studysmart-client";

const baseUrl = process.env.STUDYSMART_URL ?? "";
const email = "ada@client-typescript.example";
const password = "correct horse";

async function expectError(status: number, answer: Promise<unknown>): Promise<ApiError> {
  try {
    await answer;
  } catch (error) {
    assert.ok(error instanceof ApiError);
    assert.equal(error.status, status);
    return error;
  }
  throw new Error("no error");
}

const kept: Tokens[] = [];
let renewals = 0;
const session = new StudySmart({
  baseUrl,
  onTokens: (tokens) => kept.push(tokens),
  fetch: (request) => {
    if (request.url.endsWith("/auth/refresh")) renewals += 1;
    return fetch(request);
  },
});
ok(await session.api.POST("/auth/register", { body: { email, password } }));
await expectError(401, session.login(email, "wrong"));
await expectError(401, session.api.GET("/auth/me").then(ok));
await session.login(email, password);
const refresh_token = kept.at(-1)?.refresh_token ?? "";

// Requests whose token is refused are sent again after one renewal, with their bodies.
session.keep({ access_token: "expired", refresh_token });
const topics = ["Fractions", "Algebra", "Geometry"];
const created = await Promise.all(
  topics.map(async (topic) => {
    const body: Schemas["NewTask"] = { subject: "Mathematics", topic, difficulty: "easy", task_content: "?" };
    return ok(await session.api.POST("/practice-tasks", { body }));
  }),
);
assert.equal(renewals, 1);
assert.equal(new Set(created.map((task) => task.id)).size, 3);

const again = new StudySmart({ baseUrl, tokens: { access_token: "expired", refresh_token } });
assert.equal(ok(await again.api.GET("/auth/me")).email, email);
const ended = new StudySmart({ baseUrl, tokens: { access_token: "expired", refresh_token: "unknown" } });
await expectError(401, ended.api.GET("/auth/me").then(ok));

const listed: string[][] = [];
for await (const page of session.pages("/practice-tasks", { limit: 1, subject: "mathematics" })) {
  listed.push(page.map((task) => task.topic));
}
assert.deepEqual(listed.flat().sort(), [...topics].sort());
assert.equal(listed.length, 3);

const path = { task_id: "unknown" };
await expectError(404, session.api.GET("/practice-tasks/{task_id}", { params: { path } }).then(ok));
const faulty = await expectError(422, session.pages("/practice-tasks", { limit: 1000 }).next());
assert.ok(typeof faulty.detail !== "string");
assert.deepEqual(faulty.detail[0]?.loc, ["query", "limit"]);
