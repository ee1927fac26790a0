// Signing in, renewing the access token, following pages, and errors as exceptions. The types are generated.
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, operations, paths } from "./schema.js";
export type Schemas = components["schemas"];

export interface Tokens {
  access_token: string;
  refresh_token: string;
}

export interface Options {
  /** Address of the API, such as "http://localhost:4008". */
  baseUrl: string;
  /** Tokens that were kept, to go on without the password. */
  tokens?: Tokens;
  /** Told of new tokens, to keep them. */
  onTokens?: (tokens: Tokens) => void;
  fetch?: (request: Request) => Promise<Response>;
}

/** The lists that have pages. */
export type ListPath = "/practice-tasks" | "/analytics/topics" | "/model/versions";
type Operation<P extends ListPath> = paths[P]["get"];
type Query<P extends ListPath> = NonNullable<Operation<P>["parameters"]["query"]>;
type Page<P extends ListPath> = Operation<P>["responses"][200]["content"]["application/json"];

/** An answer that is an error. `detail` is a text, or for status 422 the list of all faults. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly detail: string | Schemas["FaultDetail"][],
  ) {
    super(`${status}: ${typeof detail === "string" ? detail : JSON.stringify(detail)}`);
    this.name = "ApiError";
  }
}

/** Returns the body of a successful answer, and throws an ApiError for any other. */
export function ok<T>(answer: { data?: T; error?: unknown; response: Response }): NonNullable<T> {
  if (answer.response.ok) return answer.data as NonNullable<T>;
  const error = answer.error as { detail?: string | Schemas["FaultDetail"][] } | undefined;
  throw new ApiError(answer.response.status, error?.detail ?? answer.response.statusText);
}

/** A session of one account. `api` has a method for each HTTP method, such as `api.GET("/practice-tasks")`. */
export class StudySmart {
  readonly api: Client<paths>;
  readonly #options: Options;
  readonly #send: (request: Request) => Promise<Response>;
  #tokens: Tokens | undefined;
  #renewal: Promise<void> | undefined;

  constructor(options: Options) {
    this.#options = options;
    this.#tokens = options.tokens;
    this.#send = options.fetch ?? ((request) => fetch(request));
    this.api = createClient<paths>({ baseUrl: options.baseUrl, fetch: (request) => this.#authorized(request) });
  }

  /** Signs in, and throws an ApiError if the address or the password is wrong. */
  async login(email: string, password: string): Promise<void> {
    this.#tokens = undefined;
    this.keep(ok(await this.api.POST("/auth/login", { body: { email, password } })));
  }

  /** Uses other tokens from now on, such as those that a change of the password returns. */
  keep({ access_token, refresh_token }: Tokens): void {
    this.#tokens = { access_token, refresh_token };
    this.#options.onTokens?.(this.#tokens);
  }

  /** Yields the pages of a list, such as `pages("/practice-tasks", { limit: 100 })`. */
  async *pages<P extends ListPath>(path: P, query: Query<P> = {} as Query<P>): AsyncGenerator<Page<P>> {
    const get = this.api.GET as (path: P, init: unknown) => Promise<{ data?: Page<P>; response: Response }>;
    let place = {};
    for (;;) {
      const answer = await get(path, { params: { query: { ...query, ...place } } });
      yield ok(answer);
      const link = /<([^>]*)>/.exec(answer.response.headers.get("Link") ?? "");
      if (link === null) return;
      place = Object.fromEntries(new URL(link[1] ?? "", answer.response.url).searchParams);
    }
  }

  async #authorized(request: Request): Promise<Response> {
    const sent = this.#tokens;
    if (sent === undefined) return this.#send(request);
    const again = request.clone();
    request.headers.set("Authorization", `Bearer ${sent.access_token}`);
    const response = await this.#send(request);
    if (response.status !== 401) return response;
    // Requests that are refused at the same time wait for one renewal.
    if (this.#tokens === sent) {
      this.#renewal ??= this.#renew(sent).finally(() => (this.#renewal = undefined));
      await this.#renewal;
    }
    if (this.#tokens === sent) return response;
    again.headers.set("Authorization", `Bearer ${this.#tokens?.access_token}`);
    return this.#send(again);
  }

  async #renew({ refresh_token }: Tokens): Promise<void> {
    const anyone = createClient<paths>({ baseUrl: this.#options.baseUrl, fetch: this.#send });
    const { data } = await anyone.POST("/auth/refresh", { body: { refresh_token } });
    if (data !== undefined) this.keep(data);
  }
}
