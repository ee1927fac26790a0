// An app of another team: it registers a student, lets them practise, and shows the counter. It knows the client only.
import { StrictMode, useState, type FormEvent } from "react";
import { createRoot } from "react-dom/client";
import { ApiError, ok, StudySmart, type Schemas } from "studysmart-client";

const session = new StudySmart({ baseUrl: import.meta.env.VITE_STUDYSMART_URL });

function App() {
  const [task, setTask] = useState<Schemas["PracticeTask"]>();
  const [counter, setCounter] = useState("");
  const [problem, setProblem] = useState("");

  async function next() {
    const body = { subject: "Mathematics", topic: "Fractions", difficulty: "easy", task_content: "1/2 + 1/3 = ?" } as const;
    setTask(ok(await session.api.POST("/practice-tasks", { body })));
  }

  async function signUp(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const account = { email: String(form.get("email")), password: String(form.get("password")) };
    try {
      ok(await session.api.POST("/auth/register", { body: account }));
      await session.login(account.email, account.password);
      setProblem("");
      await next();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setProblem(typeof error.detail === "string" ? error.detail : error.detail.map((fault) => fault.msg).join(", "));
    }
  }

  async function complete(is_correct: boolean) {
    const params = { path: { task_id: task?.id ?? "" } };
    const body = { is_correct, actual_time_seconds: 12 };
    const done = ok(await session.api.PATCH("/practice-tasks/{task_id}", { params, body }));
    await next();
    setCounter(`${done.training?.counter}/${done.training?.threshold}`);
  }

  if (task === undefined) {
    return (
      <form onSubmit={signUp}>
        <label>Email <input name="email" /></label>
        <label>Password <input name="password" type="password" /></label>
        <button>Start</button>
        <p role="alert">{problem}</p>
      </form>
    );
  }
  return (
    <main>
      <p>{task.task_content}</p>
      <p>Expected: {Math.round(100 * task.predicted_correct)} %</p>
      <button onClick={() => complete(true)}>Correct</button>
      <output>{counter}</output>
    </main>
  );
}

createRoot(document.getElementById("root")!).render(<StrictMode><App /></StrictMode>);
