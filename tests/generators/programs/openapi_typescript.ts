// A client of openapi-typescript and openapi-fetch: register, sign in, create, complete, list, and errors.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./generated";

type Task = components["schemas"]["PracticeTask"];

const client = createClient<paths>({ baseUrl: process.env.STUDYSMART_URL });
const account = { email: "ada@openapi-typescript.example", password: "correct horse" };

async function main(): Promise<void> {
  const registered = await client.POST("/auth/register", { body: { ...account, full_name: "Ada" } });
  assert.equal(registered.data?.full_name, "Ada");
  const taken = await client.POST("/auth/register", { body: { ...account, password: "another one" } });
  assert.equal(taken.response.status, 400);
  assert.ok(taken.error && typeof taken.error.detail === "string");

  const anonymous = await client.GET("/practice-tasks");
  assert.equal(anonymous.response.status, 401);
  const session = await client.POST("/auth/login", { body: account });
  assert.ok(session.data);
  const token: string = session.data.access_token;
  client.use({ onRequest: ({ request }) => request.headers.set("Authorization", `Bearer ${token}`) });

  // The request of the README, without the optional fields.
  const created = await client.POST("/practice-tasks", {
    body: { subject: "Mathematics", topic: "Fractions", difficulty: "medium", task_content: "1/2 + 1/3 = ?" },
  });
  assert.ok(created.data);
  const task: Task = created.data;
  assert.equal(created.response.headers.get("Location"), `practice-tasks/${task.id}`);
  const chance: number = task.predicted_correct;
  assert.ok(chance > 0 && chance < 1);

  const path = { task_id: task.id };
  const done = await client.PATCH("/practice-tasks/{task_id}", {
    params: { path },
    body: { is_correct: true, actual_time_seconds: 42 },
  });
  assert.ok(done.data?.training && done.data.training.counter > 0);

  const listed = await client.GET("/practice-tasks", { params: { query: { completed: true, limit: 10 } } });
  assert.deepEqual(listed.data?.map((one) => one.id), [task.id]);

  const missing = await client.GET("/practice-tasks/{task_id}", { params: { path: { task_id: "unknown" } } });
  assert.equal(missing.response.status, 404);
  const faulty = await client.GET("/practice-tasks", { params: { query: { limit: 1000 } } });
  assert.equal(faulty.response.status, 422);
  assert.ok(faulty.error && typeof faulty.error.detail !== "string");
  assert.deepEqual(faulty.error.detail[0]?.loc, ["query", "limit"]);
}

void main();
