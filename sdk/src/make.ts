/** Returns a new element with these properties and attributes. Nothing is parsed as HTML, so no policy applies. */
export function make(tag: string, properties: Record<string, unknown> = {}, attributes: Record<string, string> = {}): HTMLElement {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
