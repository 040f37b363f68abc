/** A new element with these properties. Nothing is parsed as HTML, so no policy has anything to say. */
export function make(tag: string, properties: Record<string, unknown> = {}): HTMLElement {
  return Object.assign(document.createElement(tag), properties);
}
