/** Types of the parts that main.js makes and every view receives. Times in ms unless they say otherwise. */

export type Off = () => void;

export interface Config {
  version: string;
  api_port: number;
  hub: { url: string | null; port: number };
  metrics_socket: string;
  book_socket: string;
  auth: "optional" | "required" | "off";
  features: string[];
  simulated: string | null;
  retention_days: Record<string, number>;
  timestamp: string;
}

export interface Clock {
  /** The hub's time. */
  now(): number;
  local(): number;
  setOffset(ms: number | null): void;
  parse(text: string | null | undefined): number;
}

export interface Row {
  symbol: string;
  name: string;
  kind: string;
  bid: string | null;
  ask: string | null;
  mid: string | null;
  time: string | null;
  timestamp: string | null;
  seq: number | null;
  epoch: string | null;
  /** Of `timestamp`, else of the arrival. */
  at: number;
  direction: -1 | 0 | 1;
  tintable: boolean;
  reference: string | null;
  day: { start_time: string; end_time: string; open: string; high: string; low: string } | null;
  /** At most 24 closes. */
  spark: number[];
  marketOpen: boolean | null;
  /** Seconds. */
  staleAfter: number | null;
  gap: { count: number; until: number } | null;
}

export interface Store {
  rows: Map<string, Row>;
  symbols: string[];
  fullRate: Set<string>;
  /** The last answer of /health; null if REST does not answer. */
  health: any;
  gaps: { symbol: string; count: number; at: number; reason: string }[];
  gapCount: number;
  /** Prices that are not stored yet, one point each 5 s. */
  backlog: import("./ring.js").Ring;
  /**
   * Topics: "instruments" (the set has changed), "market" (reference, day, spark, stale_after),
   * "sources" (`health`), "gaps", "cleared", "loaded" (/symbols has answered or failed: error | null),
   * "choice" (the market shows another list or kind).
   */
  on(topic: string, fn: (...values: any[]) => void): Off;
  emit(topic: string, ...values: any[]): void;
  setInstruments(list: any[]): void;
  setMarket(body: any): void;
  price(body: any, about?: { replayed?: boolean }): void;
  gap(symbol: string, count: number, reason: string): void;
  setHealth(body: any): void;
  clear(): void;
}

export type Painter = (dirty: Set<string>, now: number) => void;

export interface Paint {
  register(painter: Painter): Off;
  /** Request a frame. While paused, only `force` paints, with an empty dirty set (a scrolled list). */
  request(force?: boolean): void;
  /** The row has changed; `updates`: the number of prices that the banner counts during a pause. */
  mark(symbol: string, updates?: number): void;
  pause(flag: boolean): void;
  /** A timer that rests while the tab is hidden and runs at once when it is shown. */
  every(ms: number, fn: () => void): Off;
  readonly paused: boolean;
  readonly waiting: number;
  readonly count: number;
}

export interface Rest {
  /** `also`: statuses other than 2xx whose body is an answer. Throws `RestError` of rest.js. */
  get(path: string, params?: Record<string, any>, more?: { signal?: AbortSignal; also?: number[] }): Promise<any>;
  post(path: string, body?: any): Promise<any>;
  text(path: string, params?: Record<string, any>): Promise<string>;
  download(path: string, params: Record<string, any> | undefined, filename: string): Promise<void>;
}

export type SessionState = "open" | "needed" | "refused" | "ended";

export interface Session {
  readonly state: SessionState;
  readonly reason: string | null;
  /** null if they are unknown. */
  readonly scopes: string[] | null;
  readonly signedIn: boolean;
  /** For rest.js and hub.js alone. */
  credential(): string | null;
  signIn(text: string): void;
  /** Continue without a credential. */
  open(): void;
  renew(text: string): void;
  signOut(): void;
  unauthorized(sent: string | null): void;
  ended(reason: string): void;
  setScopes(names: string[] | null): void;
  /** Whether the scope is held; true if that is unknown. */
  can(scope: string): boolean;
  /** "change" (state), "scopes". */
  on(name: string, fn: (...values: any[]) => void): Off;
}

export type HubState = "connecting" | "live" | "reconnecting" | "refused" | "signed-out";

export interface HubAbout {
  since: number | null;
  retryAt: number | null;
  error: any;
  notFound: boolean;
}

export interface Hub {
  readonly state: HubState;
  readonly about: HubAbout;
  readonly address: { origin: string; path: string };
  readonly client: any;
  /** Median delay of deliveries in ms; null if unknown. */
  readonly delay: number | null;
  /**
   * state, price, snapshot (the newest price at a subscription), candle, alert ({event, body}), triggered, data_ready, instruments_changed, gap,
   * gap_notice, epoch, book, book_state, heartbeat, scenario, error, expiring, refreshed, paused,
   * refused ({topic, error}: a wanted subscription), live (after each connect, all restored).
   */
  on(name: string, fn: (...values: any[]) => void): Off;
  emit(name: string, ...values: any[]): void;
  connect(): void;
  close(state?: HubState): void;
  fullRate(symbol: string): Off;
  candles(symbol: string, interval: string): Off;
  book(symbol: string, depth: number): Off;
  heartbeat(): Off;
  metrics(options: { channels?: string[]; maxRate?: number }, fn: (snapshot: any, error?: any) => void): Off;
  events(fn: (event: any, error?: any) => void): Off;
}

export interface Settings {
  get(name: string): any;
  set(name: string, value: any): void;
  on(name: string, fn: (value: any) => void): Off;
}

export interface Route {
  view: string;
  symbol: string | null;
  query: URLSearchParams;
  hash: string;
}

export interface Router {
  readonly route: Route;
  go(hash: string): void;
  query(values: Record<string, any>): void;
  href(view: string, symbol?: string | null, query?: Record<string, string>): string;
  on(fn: (route: Route) => void): Off;
}

export type KeyTable = Record<string, { label: string; run: (event: KeyboardEvent) => void }>;

export interface Keys {
  bind(table: KeyTable): Off;
  list(): { key: string; label: string }[];
}

/** The find field of the top bar. */
export interface Find {
  readonly text: string;
  set(text: string): void;
  focus(): void;
  on(fn: (text: string) => void): Off;
  onFocus(fn: () => void): Off;
}

export interface App {
  config: Config;
  store: Store;
  paint: Paint;
  clock: Clock;
  rest: Rest;
  hub: Hub;
  session: Session;
  settings: Settings;
  router: Router;
  keys: Keys;
  find: Find;
  /** Polite live region, at most every 10 s. */
  announce(text: string): void;
}

export interface View {
  update?(route: Route): void;
  close(): void;
}

export type PanelState = "loading" | "ready" | "empty" | "error" | "forbidden" | "limited";

export interface PanelAbout {
  title: string;
  /** Without it, the caller fills the panel and sets its state. */
  load?(signal: AbortSignal): Promise<any>;
  show?(body: any, content: HTMLElement): void;
  every?: number;
  empty?(body: any): string | null;
  actions?: Node[];
}

export interface Panel {
  element: HTMLElement;
  content: HTMLElement;
  reload(): Promise<void>;
  set(state: PanelState, text?: string): void;
  close(): void;
}

export interface DialogAction {
  label: string;
  primary?: boolean;
  /** A text that it returns is an error and keeps the dialog open. */
  run(): any;
}

export interface Dialog {
  close(): void;
  closed: Promise<void>;
}

export interface Notice {
  text: string;
  /** Not announced again when it changes. */
  countdown?: string;
  tone?: "warn" | "info";
  action?: { label: string; run: () => void } | null;
}

declare global {
  // eslint-disable-next-line no-var
  var tickwire: {
    store: Store;
    hub: Hub;
    version: string;
    paint: Paint;
    /** While an instrument is open: its bars, and the data of the drawn series. */
    chart?: () => { interval: string; candles: any[]; drawn: any[] };
  };
}
