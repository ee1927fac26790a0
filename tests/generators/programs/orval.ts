// A client of orval, with fetch: register, sign in, create, complete, list, and errors.
import assert from "node:assert/strict";
import { createTask, Difficulty, listTasks, login, readTask, register, updateTask } from "./generated";

const account = { email: "ada@orval.example", password: "correct horse" };

async function main(): Promise<void> {
  const registered = await register({ ...account, full_name: "Ada" });
  assert.equal(registered.status === 201 && registered.data.full_name, "Ada");
  const taken = await register({ ...account, password: "another one" });
  assert.equal(taken.status === 400 && typeof taken.data.detail, "string");

  assert.equal((await listTasks()).status, 401);
  const session = await login(account);
  assert.ok(session.status === 200);
  const options = { headers: { Authorization: `Bearer ${session.data.access_token}` } };

  const created = await createTask(
    { subject: "Mathematics", topic: "Fractions", difficulty: Difficulty.medium, task_content: "1/2 + 1/3 = ?" },
    options,
  );
  assert.ok(created.status === 201);
  const task = created.data;

  const done = await updateTask(task.id, { is_correct: true, actual_time_seconds: 42 }, options);
  assert.ok(done.status === 200 && done.data.training && done.data.training.counter > 0);

  const listed = await listTasks({ completed: true, limit: 10 }, options);
  assert.ok(listed.status === 200);
  assert.deepEqual(listed.data.map((one) => one.id), [task.id]);

  assert.equal((await readTask("unknown", options)).status, 404);
  const faulty = await listTasks({ limit: 1000 }, options);
  assert.ok(faulty.status === 422);
  assert.deepEqual(faulty.data.detail[0]?.loc, ["query", "limit"]);
}

void main();
