/** Conversion of tokenizer.json's patterns, which have Oniguruma's syntax, to JavaScript regular expressions. */

/** Meaning of Oniguruma's escapes. JavaScript's \s lacks U+0085 and contains U+FEFF, and its \d is ASCII only. */
const ESCAPES: Readonly<Record<string, string>> = {
  s: '\\p{White_Space}',
  S: '\\P{White_Space}',
  d: '\\p{Nd}',
  r: '\\r',
  n: '\\n',
  t: '\\t',
};

const SYNTAX = /[\^$\\.*+?()[\]{}|/]/;
/**
 * Parts of a pattern: properties, other escapes, case-insensitive groups of letters, starts of groups, quantifiers,
 * single characters.
 */
const PART = new RegExp(
  [
    String.raw`\\(?<property>[pP]\{\w+\})`,
    String.raw`\\(?<escaped>.)`,
    String.raw`\(\?i:(?<insensitive>['a-zA-Z|]*(?:\[[a-zA-Z]+\]['a-zA-Z|]*)*)\)`,
    String.raw`(?<group>\((?:\?[:!=])?)`,
    String.raw`(?<quantifier>(?:[*+?]|\{\d+(?:,\d*)?\})\??)`,
    '(?<other>.)',
  ].join('|'),
  'gsu',
);

/**
 * Converts an Oniguruma pattern to an equivalent regular expression, global and by code points. Returns undefined for
 * constructs without a safe equivalent.
 */
export function compilePattern(pattern: string): RegExp | undefined {
  let source = '';
  let inClass = false;
  let afterQuantifier = false;
  for (const { groups = {} } of pattern.matchAll(PART)) {
    const { property, escaped, insensitive, group, quantifier, other } = groups;
    if (inClass && (insensitive !== undefined || other === '[' || other === '&')) return undefined;
    if (property !== undefined) source += `\\${property}`;
    else if (escaped !== undefined) {
      const meaning = ESCAPES[escaped] ?? (SYNTAX.test(escaped) ? `\\${escaped}` : undefined);
      if (meaning === undefined) return undefined;
      source += meaning;
    } else if (insensitive !== undefined) source += bothCases(insensitive);
    else if (quantifier !== undefined && !inClass) {
      // a second quantifier makes the first possessive, which JavaScript lacks
      if (afterQuantifier) return undefined;
      source += quantifier;
    } else if (quantifier !== undefined) source += escapeAll(quantifier);
    else if (group !== undefined) source += inClass ? escapeAll(group) : group;
    else {
      const character = other as string;
      if (!inClass && /[.^$]/.test(character)) return undefined;
      if (character === '[') inClass = true;
      if (character === ']') inClass = false;
      source += /[{}/]/.test(character) ? `\\${character}` : character;
    }
    afterQuantifier = quantifier !== undefined && !inClass;
  }
  try {
    return new RegExp(source, 'gu');
  } catch {
    return undefined;
  }
}

function bothCases(group: string): string {
  const letters = group.replace(/\[([a-zA-Z]+)\]|([a-zA-Z])/g, (_, many: string | undefined, one: string) => {
    const each = many ?? one;
    return `[${each.toLowerCase()}${each.toUpperCase()}]`;
  });
  return `(?:${letters})`;
}

function escapeAll(text: string): string {
  return text.replace(/[\^$\\.*+?()[\]{}|/]/g, '\\$&');
}
