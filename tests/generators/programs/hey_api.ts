// A client of @hey-api/openapi-ts: register, sign in, create, complete, list, and errors.
import assert from "node:assert/strict";
import { createTask, listTasks, login, readTask, register, updateTask, type NewTask } from "./generated";
import { client } from "./generated/client.gen";

const account = { email: "ada@hey-api.example", password: "correct horse" };
client.setConfig({ baseUrl: process.env.STUDYSMART_URL });

async function main(): Promise<void> {
  const registered = await register({ body: { ...account, full_name: "Ada" } });
  assert.equal(registered.data?.full_name, "Ada");
  const taken = await register({ body: { ...account, password: "another one" } });
  assert.equal(taken.response?.status, 400);

  assert.equal((await listTasks()).response?.status, 401);
  const session = await login({ body: account });
  const token: string = session.data?.access_token ?? "";
  client.setConfig({ baseUrl: process.env.STUDYSMART_URL, auth: () => token });

  const body: NewTask = {
    subject: "Mathematics",
    topic: "Fractions",
    difficulty: "medium",
    task_content: "1/2 + 1/3 = ?",
  };
  const created = await createTask({ body });
  assert.ok(created.data);
  const task = created.data;
  assert.equal(task.completed, false);

  const path = { task_id: task.id };
  const done = await updateTask({ path, body: { is_correct: true, actual_time_seconds: 42 } });
  assert.ok(done.data?.training && done.data.training.counter > 0);

  const listed = await listTasks({ query: { completed: true, limit: 10 } });
  assert.deepEqual(listed.data?.map((one) => one.id), [task.id]);

  assert.equal((await readTask({ path: { task_id: "unknown" } })).response?.status, 404);
  const faulty = await listTasks({ query: { limit: 1000 } });
  assert.equal(faulty.response?.status, 422);
  assert.ok(faulty.error && Array.isArray(faulty.error.detail));
  assert.deepEqual(faulty.error.detail[0]?.loc, ["query", "limit"]);
}

void main();
