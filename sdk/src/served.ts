/** The file that the service serves, for pages that load the SDK by a script element: `index.ts` and the element. */
import "./element.ts";

export * from "./index.ts";
