/** Generator of Jinja programs from the whole language and its dangerous parts. */

import type { Draw } from './draw';
import { hostileNumber, INHERITED } from './hostile';

const NAMES = [
  'messages',
  'message',
  'add_generation_prompt',
  'bos_token',
  'eos_token',
  'loop',
  'ns',
  'x',
  'y',
  'f',
].concat([
  'none',
  'true',
  'false',
  'missing',
  'namespace',
  'range',
  'self',
  'caller',
  'varargs',
  'kwargs',
  'dict',
  'cycler',
]);
const MEMBERS = [
  'role',
  'content',
  'index',
  'index0',
  'first',
  'last',
  'length',
  's',
  'x',
  'items',
  'keys',
  'values',
].concat(
  [
    'upper',
    'lower',
    'strip',
    'lstrip',
    'rstrip',
    'split',
    'rsplit',
    'replace',
    'startswith',
    'endswith',
    'title',
    'get',
  ],
  ['format', 'join', 'append', 'pop', 'count', 'find', 'cycle', 'previtem', 'nextitem', 'depth', 'changed'],
);
const FILTERS = [
  'length',
  'upper',
  'lower',
  'title',
  'capitalize',
  'trim',
  'list',
  'first',
  'last',
  'reverse',
  'sort',
].concat(
  ['unique', 'join', 'string', 'int', 'float', 'abs', 'items', 'tojson', 'safe', 'indent', 'replace', 'map', 'select'],
  [
    'selectattr',
    'rejectattr',
    'reject',
    'default',
    'round',
    'sum',
    'min',
    'max',
    'batch',
    'slice',
    'center',
    'truncate',
  ],
  ['wordwrap', 'wordcount', 'groupby', 'dictsort', 'escape', 'e', 'format', 'random', 'striptags', 'urlize', 'xmlattr'],
  ['filesizeformat', 'pprint', 'attr', 'count', 'd', 'bool', 'none', 'strip'],
);
const TESTS = [
  'defined',
  'undefined',
  'none',
  'string',
  'number',
  'integer',
  'float',
  'mapping',
  'iterable',
  'sequence',
].concat([
  'odd',
  'even',
  'true',
  'false',
  'boolean',
  'callable',
  'lower',
  'upper',
  'eq',
  'equalto',
  'in',
  'sameas',
  'divisibleby',
]);
const OPERATORS = [
  '+',
  '-',
  '*',
  '/',
  '//',
  '%',
  '**',
  '~',
  'and',
  'or',
  'in',
  'not in',
  '==',
  '!=',
  '<',
  '>',
  '<=',
  '>=',
];
const STRINGS = ["''", "'a'", "'\\n'", "'xxxxxxxx'", '"role"', "'é\\u0301'", "'{{'", "'%s'", "'a b c'", "'\ud800'"];

/** Formats a number in Jinja's syntax. */
function numeral(draw: Draw): string {
  const number = hostileNumber(draw);
  return Number.isInteger(number) && Math.abs(number) < 1e21 ? String(BigInt(number)) : String(number);
}

function member(draw: Draw): string {
  return draw.pick(draw.chance(0.1) ? INHERITED : MEMBERS);
}

/** Returns an expression of at most `depth` levels. */
export function expression(draw: Draw, depth: number): string {
  const inner = () => expression(draw, depth - 1);
  if (depth <= 0) {
    return draw.pick([
      () => draw.pick(NAMES),
      () => draw.pick(NAMES),
      () => draw.pick(STRINGS),
      () => numeral(draw),
      () => String(draw.integer(-3, 12)),
    ])();
  }
  return draw.pick([
    () => draw.pick(NAMES),
    () => `${inner()} ${draw.pick(OPERATORS)} ${inner()}`,
    () => `${inner()} ${draw.pick(OPERATORS)} ${inner()}`,
    () => `(${inner()})`,
    () => `[${draw.several(0, 3, inner).join(', ')}]`,
    () => `(${draw.several(2, 3, inner).join(', ')})`,
    () => `{${draw.several(0, 2, () => `${inner()}: ${inner()}`).join(', ')}}`,
    () => `${inner()}.${member(draw)}`,
    () => `${inner()}.${member(draw)}${parameters(draw, depth - 1)}`,
    () => `${inner()}[${inner()}]`,
    () => `${inner()}[${slice(draw)}]`,
    () => `${inner()} | ${draw.pick(FILTERS)}`,
    () => `${inner()} | ${draw.pick(FILTERS)}${parameters(draw, depth - 1)}`,
    () => `${inner()} is ${draw.chance(0.3) ? 'not ' : ''}${draw.pick(TESTS)}`,
    () => `${inner()} if ${inner()} else ${inner()}`,
    () => `${inner()} if ${inner()}`,
    () => `not ${inner()}`,
    () => `-${inner()}`,
    () => `range(${draw.several(1, 3, () => (draw.chance(0.5) ? inner() : numeral(draw))).join(', ')})`,
    () =>
      `${draw.pick(['f', 'namespace', 'raise_exception', 'strftime_now', 'caller', 'dict', 'loop'])}${parameters(draw, depth - 1)}`,
  ])();
}

function parameters(draw: Draw, depth: number): string {
  const names = ['x', 's', 'attribute', 'width', 'indent', 'first', 'd', 'sep', 'ensure_ascii', 'default'];
  const positional = draw.several(0, 3, () => expression(draw, depth));
  const named = draw.chance(0.3) ? draw.several(1, 2, () => `${draw.pick(names)}=${expression(draw, depth)}`) : [];
  return `(${[...positional, ...named].join(', ')})`;
}

function slice(draw: Draw): string {
  const end = () => (draw.chance(0.5) ? '' : numeral(draw));
  return draw.chance(0.5) ? `${end()}:${end()}` : `${end()}:${end()}:${end()}`;
}

/** Returns a tag with or without white space control. */
function tag(draw: Draw, content: string): string {
  const trim = () => (draw.chance(0.02) ? '+' : draw.pick(['', '', '-']));
  return `{%${trim()} ${content} ${trim()}%}`;
}

/** Returns a few statements of at most `depth` levels. */
export function body(draw: Draw, depth: number): string {
  return draw.several(0, 3, () => statement(draw, depth)).join('');
}

function statement(draw: Draw, depth: number): string {
  const value = () => expression(draw, draw.integer(0, 3));
  const inner = () => body(draw, depth - 1);
  const around = (begin: string, end: string) => tag(draw, begin) + inner() + tag(draw, end);
  if (depth <= 0) return draw.chance(0.5) ? `{{ ${value()} }}` : draw.pick(['a', ' \n ', '<|x|>', '', '{', '}}', '%}']);
  return draw.pick([
    () => `{{ ${value()} }}`,
    () => `{{- ${value()} -}}`,
    () => draw.pick(['text', '\n', '  \n  ', '{', '#}', '}}']),
    () => tag(draw, `set ${draw.pick(['x', 'y', 'ns.x', 'ns.s', 'x, y', 'messages', 'loop'])} = ${value()}`),
    () => tag(draw, `set ns = namespace(s=${value()}, x=${value()})`),
    () => around('set x', 'endset'),
    () => around(`for x in ${value()}`, 'endfor'),
    () => around(`for message in messages`, 'endfor'),
    () => around(`for x, y in ${value()} if ${value()}`, 'endfor'),
    () => tag(draw, `for x in ${value()} recursive`) + inner() + tag(draw, 'else') + inner() + tag(draw, 'endfor'),
    () => around(`if ${value()}`, 'endif'),
    () =>
      tag(draw, `if ${value()}`) +
      inner() +
      tag(draw, `elif ${value()}`) +
      inner() +
      tag(draw, 'else') +
      tag(draw, 'endif'),
    () => around(`macro f(x, y=${value()})`, 'endmacro'),
    () => around(`call f(${value()})`, 'endcall'),
    () => around(`filter ${draw.pick(FILTERS)}`, 'endfilter'),
    () => around('raw', 'endraw'),
    () => around('generation', 'endgeneration'),
    () => around(`with x = ${value()}`, 'endwith'),
    () =>
      tag(
        draw,
        draw.chance(0.9)
          ? draw.pick(['break', 'continue'])
          : draw.pick(['include "x"', 'import "x" as x', 'extends "x"', 'do f()', 'debug', '']),
      ),
    () => '{# no comment #}',
    () => (draw.chance(0.05) ? `{{ ${value()} ` : inner()),
  ])();
}

/** Loop bodies, with the loop variable `x` and a namespace `ns`. */
const WORK = ['', 'x', '{{ x }}', '{% set ns.s = x %}', '{% if x == 3 %}{% endif %}', '{{ messages | length }}'].concat(
  ['{% set ns.s = ns.s ~ "a" %}', '{% set ns.s = ns.s + ["a"] %}', '{{ loop.index }}', '{{ f(x) }}', '{% continue %}'],
);
/** Expressions that about double a value. */
const DOUBLING = ['ns.s + ns.s', 'ns.s ~ ns.s', '[ns.s, ns.s]', '(ns.s, ns.s)', "{'a': ns.s, 'b': ns.s}"].concat(
  ['[ns.s, ns.s] | join(ns.s)', "ns.s | replace('a', ns.s)", "ns.s.replace('a', 'aaaa')", 'ns.s | tojson | tojson'],
  [
    "ns.s.replace('', 'aa')",
    'ns.s * 2',
    '(ns.s | list) + (ns.s | list)',
    "ns.s.split('') | join(ns.s)",
    'ns.s | indent(ns.s | length)',
  ],
  [
    "'%s%s' | format(ns.s, ns.s)",
    'namespace(s=[ns.s, ns.s])',
    "ns.s | replace('x', 'xx')",
    'ns.s.join([ns.s, ns.s])',
    'g(ns.s)',
  ],
);
const START = ["'xxxxxxxx'", "'a'", '[1, 2, 3, 4]', "['a']", 'messages', "{'a': 'a'}", "('a',)", '7', "'a b'"];
const USE = [
  '',
  '{{ ns.s }}',
  '{{ ns.s }}{{ ns.s }}',
  '{{ ns.s | length }}',
  '{{ ns.s | tojson }}',
  '{{ ns.s == ns.s }}',
].concat(
  ['{{ ns.s | string | length }}', '{{ ns.s | sort }}', '{{ ns.s | unique | list }}', '{{ ns.s | upper }}', '{{ ns }}'],
  [
    '{% for x in ns.s %}{{ x }}{% endfor %}',
    '{{ ns.s[::-1] }}',
    '{{ ns.s | trim }}',
    "{{ 'a' in ns.s }}",
    '{{ ns.s | indent(9) }}',
  ],
);
/** Expressions with an arbitrary number N. */
const COSTLY = [
  "'a\\nb' | indent(N)",
  'messages | tojson(indent=N)',
  "'x' * N",
  '[1] * N',
  'range(N)',
  'range(N) | list',
].concat(
  ['range(0, N, 1)', 'range(N, 0, -1)', 'range(N) | sum', "range(N) | join('xxxxxxxx')", 'range(N) | length', '2 ** N'],
  ["'a' | center(N)", "'abc' | truncate(N)", 'messages | batch(N)', 'messages | slice(N)', '1.5 | round(N)', "'a'[N:]"],
  [
    "'a'[::N]",
    'range(N)[::2]',
    "range(N) | map('string') | join",
    "'%Nd' | format(1)",
    "'{:N}'.format(1)",
    'range(N) | sort',
  ],
  [
    'range(N) | unique | list',
    'range(N) | reverse | list',
    'range(N) | tojson',
    '(range(N) | list) == (range(N) | list)',
  ],
  [
    "'x'.ljust(N)",
    "range(N) | selectattr('a') | list",
    'N % 7',
    'N // 0',
    "'a'.split('a', N)",
    "'aaaa'.replace('a', 'b', N)",
  ],
  [
    '(range(N) | list) + (range(N) | list)',
    'N in range(N)',
    "strftime_now('%Y' * N)",
    "'a' | wordwrap(N)",
    'messages[N]',
  ],
);

type Maker = (draw: Draw) => string;

/** Expensive templates, by their names in findings. */
export const DANGERS: Readonly<Record<string, Maker>> = {
  'nested loops': (draw) => {
    const levels = draw.integer(1, 5);
    const loops = Array.from({ length: levels }, () => `{% for x in range(${draw.size(10 ** (12 / levels))}) %}`);
    return loops.join('') + draw.pick(WORK) + '{% endfor %}'.repeat(levels);
  },
  'loops over messages': (draw) => {
    const levels = draw.size(40);
    return '{% for x in messages %}'.repeat(levels) + draw.pick(WORK) + '{% endfor %}'.repeat(levels);
  },
  doubling: (draw) => {
    const doubling = draw.pick(DOUBLING);
    const macro = '{% macro g(s) %}{{ s }}{{ s }}{% endmacro %}';
    const loop = `{% for i in range(${draw.size(100)}) %}{% set ns.s = ${doubling} %}{% endfor %}`;
    return `${macro}{% set ns = namespace(s=${draw.pick(START)}) %}${loop}${draw.pick(USE)}`;
  },
  recursion: (draw) => {
    const call = draw.pick(['f(n - 1)', 'f(n)', 'f(n + 1)', 'f([n])', "f(n ~ 'a')", 'g(n)', 'caller()']);
    const calls = `{{ ${call} }}`.repeat(draw.integer(1, 4));
    const inside = draw.chance(0.6) ? `{% if n > 0 %}${calls}{% endif %}` : calls;
    const macros = `{% macro f(n) %}${inside}{% endmacro %}{% macro g(n) %}{{ f(n) }}{% endmacro %}`;
    const start = draw.chance(0.3)
      ? `{% call f(${draw.size(1e4)}) %}{{ f(3) }}{% endcall %}`
      : `{{ f(${draw.size(1e5)}) }}`;
    return macros + start;
  },
  'costly argument': (draw) => {
    const use = draw.pick(COSTLY).replaceAll('N', () => numeral(draw));
    return draw.pick([
      `{{ ${use} }}`,
      `{% set x = ${use} %}`,
      `{% if ${use} %}{% endif %}`,
      `{% for x in ${use} %}{% endfor %}`,
    ]);
  },
  'deep nesting': (draw) => {
    const depth = draw.size(1e5);
    const [begin, end] = draw.pick(
      [
        ['{{ ', ' }}', '(', '1', ')'],
        ['{{ ', ' }}', '[', '1', ']'],
        ['{{ ', ' }}', "{'a': ", '1', '}'],
        ['{{ ', ' }}', 'not ', 'x', ''],
        ['{{ ', ' }}', '-', '1', ''],
        ['{{ ', ' }}', 'f(', '', ')'],
        ['{{ ', ' }}', '', 'x', '.a'],
        ['{{ ', ' }}', '', 'x', '[0]'],
        ['{{ ', ' }}', '', 'messages', '[:]'],
        ['{{ ', ' }}', '', 'x', ' | string'],
        ['{{ ', ' }}', '', "'a'", ".replace('a', 'b')"],
        ['{{ ', ' }}', '', "'a'", " + 'a'"],
        ['{{ ', ' }}', '', "'a'", ' ~ 1'],
        ['{{ ', ' }}', '', '2', ' ** 2'],
        ['{{ ', ' }}', '', 'x', ' and x'],
        ['{{ ', ' }}', '', '1', ' if x else 1'],
        ['{{ ', ' }}', '', 'x', ' is defined'],
        ['', '', '{% if true %}', '', '{% endif %}'],
        ['', '', '{% if x %}{% else %}', '', '{% endif %}'],
        ['{% if x %}', '{% endif %}', '{% elif x %}', '', ''],
        ['', '', '{% for x in [1] %}', 'x', '{% endfor %}'],
        ['', '', '{% set x %}', 'x', '{% endset %}'],
        ['', '', '{% filter upper %}', 'x', '{% endfilter %}'],
        ['', '', '{% macro f() %}', 'x', '{% endmacro %}'],
        ['', '', '{% call f() %}', 'x', '{% endcall %}'],
        ['', '', '{# ', '', ' #}'],
        ['', '', '{% raw %}', '', '{% endraw %}'],
      ].map(([start = '', stop = '', open = '', middle = '', close = '']) => [
        start + open.repeat(depth) + middle,
        close.repeat(draw.chance(0.9) ? depth : draw.size(depth)) + stop,
      ]),
    ) as [string, string];
    return begin + end;
  },
  'long text': (draw) => {
    const count = draw.size(3e5);
    return draw.pick([
      () => `${' '.repeat(count)}{%- if true -%}${' '.repeat(count)}{% endif %}`,
      () => `${'\n \n'.repeat(count)}x{%- if true -%}\n${' \n'.repeat(count)}x{% endif %}`,
      () => `{{ 1${' '.repeat(count)}}}`,
      () =>
        draw
          .pick(['{', '{{', '{%', '{#', '}}', '%}', "{{ '", '{{ "', '{{ \\', '{%- ', ' {%- if x -%} ', '-%}', '\r\n'])
          .repeat(count),
      () => '{{1}}'.repeat(count),
      () => '{{ x }}{% set x = 1 %}\n'.repeat(count),
      () => '{# a #}'.repeat(count),
      () => `{{ '${draw.pick(['a', '\\\\', '\\n', 'é'])}`.padEnd(count, 'a'),
      () => `{# ${'x'.repeat(count)}`,
      () => `{% raw %}${'x'.repeat(count)}`,
      () => `{{ ${'a'.repeat(count)} }}`,
      () => `{{ ${'9'.repeat(count)} }}`,
      () => `{{ [${'1,'.repeat(count)}1] | ${draw.pick(FILTERS)} }}`,
      () => `{{ '${'ab '.repeat(count)}' | ${draw.pick(FILTERS)} }}`,
      () =>
        `{{ '${' '.repeat(count)}x' | ${draw.pick(['trim', 'title', 'capitalize', 'wordcount', 'indent', 'upper'])} }}`,
      () =>
        `{{ '${draw.pick([' ', '\\n', 'a ', '\\t'])}`.repeat(1) +
        `${' '.repeat(count)}x'.${draw.pick(['strip', 'rstrip', 'lstrip', 'split', 'title', 'splitlines'])}() }}`,
      () =>
        `{% macro f(${Array.from({ length: Math.min(count, 5000) }, (_, i) => `a${i}`).join(',')}) %}{% endmacro %}{{ f() }}`,
    ])();
  },
  cycles: (draw) => {
    const tie = draw.pick(['{% set ns.s = ns %}', '{% set ns.s = [ns] %}', "{% set ns.s = {'a': ns} %}"]);
    const use = draw.pick(
      ['{{ ns }}', '{{ ns | tojson }}', '{{ ns == ns }}', '{{ ns.s | string }}', '{{ [ns] | join }}'].concat([
        '{{ ns | items }}',
        '{{ ns | length }}',
        '{% for x in ns %}{{ x }}{% endfor %}',
        '{{ [ns, ns] | unique }}',
        '{{ ns ~ ns }}',
      ]),
    );
    return `{% set ns = namespace(s=1) %}${tie}${use}`;
  },
  inherited: (draw) => {
    const name = draw.pick(INHERITED);
    const of = draw.pick([
      "''",
      'messages',
      'messages[0]',
      'namespace',
      'range',
      'ns',
      '{}',
      '1',
      'true',
      'none',
      'x.y',
      'f',
      'loop',
    ]);
    return draw.pick([
      `{{ ${of}.${name} }}`,
      `{{ ${of}['${name}'] }}`,
      `{{ ${of}.${name}.${name}('return 1')() }}`,
      `{% set ns = namespace() %}{% set ns.${name} = ${of} %}{{ ns }}{{ ns.${name} }}`,
      `{% set d = {'${name}': 1} %}{{ d.${name} }}{{ d | tojson }}`,
      `{{ messages | map(attribute='${name}') | list }}`,
      `{{ messages | selectattr('${name}') | list }}`,
      `{{ messages | sort(attribute='${name}') }}`,
      `{{ ${of} | ${name} }}`,
      `{{ ${of} is ${name} }}`,
      `{{ ${name} }}{{ ${name}() }}`,
      `{% macro ${name}() %}x{% endmacro %}{{ ${name}() }}`,
      `{% set ${name} = 1 %}{{ ${name} }}`,
      `{{ '%(${name})s' | format(1) }}{{ '{${name}}'.format(1) }}`,
    ]);
  },
};
