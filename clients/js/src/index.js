export { FXDataPipelineClient } from "./client.js";
export { TickwireError } from "./errors.js";
