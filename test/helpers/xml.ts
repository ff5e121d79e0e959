/**
 * Throws if a text is not well-formed XML with one element: mismatched tags, bare '<' or '&', attributes without
 * quotes.
 */
export function expectWellFormed(xml: string): void {
  const open: string[] = [];
  const token = /<(\/?)([a-zA-Z][\w:-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|<!--[\s\S]*?-->|([^<]+)/gy;
  for (let at = 0; at < xml.length; at = token.lastIndex) {
    token.lastIndex = at;
    const found = token.exec(xml);
    if (found === null) throw new Error(`not XML: ${xml.slice(at, at + 80)}`);
    const [whole, closing, name, attributes = '', single, text = ''] = found;
    const written = (name === undefined ? text : attributes).replace(/&(?:amp|lt|gt|quot|#\d+|#x[\da-f]+);/gi, '');
    if (written.includes('&')) throw new Error(`a bare & in ${whole.slice(0, 80)}`);
    if (name === undefined || single === '/') continue;
    if (closing !== '/') open.push(name);
    else if (open.pop() !== name) throw new Error(`</${name}> closes another element`);
  }
  if (open.length > 0) throw new Error(`<${open.at(-1)}> is not closed`);
}
