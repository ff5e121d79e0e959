/** Chat templates as untrusted programs: each gives a text or one MbokError, in bounded time and memory. */

import { temporaryFolder } from '../helpers/folders';
import { MOST_GROWTH, MOST_TIME, type Outcome, runCases } from '../helpers/hostile_cases';

const spaces = ' \n'.repeat(100_000);
/** Repeats statements sixty times on `ns.s`, a text, and `ns.l`, a list. */
const sixty = (statements: string) =>
  `{% set ns = namespace(s='ab', l=[1]) %}{% for i in range(60) %}${statements}{% endfor %}{{ ns.s | length }}`;
/** Creates a text of 2^power letters in `ns.s`. */
const long = (power: number, letter = 'a') =>
  `{% set ns = namespace(s='${letter}', l=[]) %}{% for i in range(${power}) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}`;
const nested = (count: number) => `{{ ${'['.repeat(count)}1${']'.repeat(count)} }}`;

const FORMAT = 'MBOK_FORMAT';
const ARGUMENT = 'MBOK_INVALID_ARGUMENT';

/** A template, and its text or the code of its error. */
const cases: [name: string, template: string, expected: string][] = [
  // time
  ['a billion rounds', '{% for i in range(1000000000) %}x{% endfor %}', FORMAT],
  ['rounds counted down', '{% for i in range(1000000000, 0, -1) %}{% endfor %}', FORMAT],
  ['loops in loops', `${'{% for i in range(10000) %}'.repeat(3)}${'{% endfor %}'.repeat(3)}`, FORMAT],
  [
    'macros that call themselves twice',
    '{% macro f(n) %}{% if n > 0 %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}',
    FORMAT,
  ],
  ['white space before a block', `${spaces}x{%- if true -%}${spaces}x{% endif %}`, FORMAT],
  ['a list of itself twice, as JSON', `${sixty('{% set ns.s = [ns.s, ns.s] %}')}{{ ns.s | tojson }}`, FORMAT],
  [
    'tuples of themselves twice, told apart',
    `${sixty('{% set ns.s = (ns.s, ns.s) %}').replace('60', '27')}{{ ns.s | unique | list }}`,
    FORMAT,
  ],
  [
    'a tuple within tuples as a key',
    "{% set ns = namespace(s='a') %}{% for i in range(300) %}{% set ns.s = (ns.s,) %}{% endfor %}{{ {ns.s: 1}[ns.s] }}",
    '1',
  ],
  [
    'tuples whose texts are put together alike',
    "{{ [('a', 'b'), ('a,1:b',), ('a', 'b')] | unique | list | length }}",
    '2',
  ],
  ['tuples of numbers and of these as text', "{{ {(1, '1'): 'x', ('1', 1): 'y'}[(1, '1')] }}", 'x'],
  // memory
  ['a text doubled', sixty('{% set ns.s = ns.s + ns.s %}'), FORMAT],
  ['a text doubled by ~', sixty('{% set ns.s = ns.s ~ ns.s %}'), FORMAT],
  ['a text doubled and looked through', sixty("{% set ns.s = ns.s ~ ns.s %}{% if 'q' in ns.s %}{% endif %}"), FORMAT],
  ['a text doubled by joining', sixty('{% set ns.s = [ns.s, ns.s] | join(ns.s) %}'), FORMAT],
  ['a text doubled by replacing', sixty("{% set ns.s = ns.s.replace('a', 'aa') %}"), FORMAT],
  [
    'a text that two replacements make long',
    `${long(12)}{% set ns.s = ns.s.replace('a', ns.s[:2000]) %}{{ ns.s.replace('a', 'b') | length }}`,
    FORMAT,
  ],
  ['a text doubled by a block', sixty('{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}'), FORMAT],
  ['a text doubled by a filter', sixty('{% set ns.s = (ns.s ~ ns.s) | upper %}'), FORMAT],
  ['a list doubled', sixty('{% set ns.l = ns.l + ns.l %}'), FORMAT],
  [
    'many beginnings of a long text',
    `${long(20)}{% for i in range(9999) %}{% set ns.l = ns.l + [ns.s[1:]] %}{% endfor %}`,
    FORMAT,
  ],
  ['a long text split into letters', `${long(24, 'a ')}{{ ns.s.split() | length }}`, FORMAT],
  ['a wide indent', "{{ 'a\\nb' | indent(1000000000) }}", FORMAT],
  ['a wide indent of JSON', '{{ messages | tojson(indent=100000000) }}', FORMAT],
  ['an indent of no number', "{{ 'a\\nb' | indent(0 // 0) }}{% for i in range(1000000000) %}{% endfor %}", ARGUMENT],
  [
    'a long text in JSON of many',
    `${long(20)}{% set ns.l = [ns.s] %}{% for i in range(30) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}`,
    FORMAT,
  ],
  ['output without end', `{% for i in range(300000) %}${'x'.repeat(1000)}{% endfor %}`, FORMAT],
  // depth
  ['a macro that calls itself', '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}', FORMAT],
  ['lists in lists', nested(100_000), FORMAT],
  ['parentheses', `{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`, FORMAT],
  ['a namespace in itself', '{% set ns = namespace(s=1) %}{% set ns.s = ns %}{{ ns }}', FORMAT],
  // length
  ['a template of 10 MB', 'x'.repeat(10_000_000), FORMAT],
  ['a text that does not end', `{{ '${'x'.repeat(500_000)}`, FORMAT],
  ['a reason of 4 MB', `${long(22)}{{ raise_exception(ns.s) }}`, ARGUMENT],
  // names of JavaScript
  ['constructors', "{{ messages.constructor }}{{ ''.constructor }}{{ range['constructor'] }}", ''],
  ['a constructor that is called', "{{ ''.constructor.constructor('return process')() }}", ARGUMENT],
  [
    'a prototype',
    "{% set d = {'__proto__': {'a': 1}} %}{{ d.a }}{{ d | tojson }}{{ {}.a }}",
    '{"__proto__": {"a": 1}}',
  ],
  ['globals', '{{ process }}{{ require }}{{ globalThis }}', ''],
  // what benign templates do
  ['a conversation', '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}', '<user>Hi'],
  ['many alternatives', `{% if false %}${'{% elif false %}x'.repeat(300)}{% else %}y{% endif %}`, 'y'],
  ['deep blocks', `${'{% if true %}'.repeat(300)}x${'{% endif %}'.repeat(300)}`, 'x'],
  ['a long list', '{{ range(30000) | length }}', '30000'],
  ['special patterns of a replacement', "{{ 'a-b'.replace('-', '$&$$') }}", 'a$&$$b'],
  ['an indented text', "{{ 'a\\nb' | indent(2) }}{{ messages | tojson(indent=1) | length > 20 }}", 'a\n  bTrue'],
];

let outcomes: Outcome[];
beforeAll(() => {
  const work = {
    imports: "import { ChatTemplate } from './lib/text/chat';",
    work: "return new ChatTemplate(input, 'place').apply([{ role: 'user', content: 'Hi' }]);",
  };
  const templates = cases.map(([, template]) => template);
  outcomes = runCases(temporary, work, templates);
});

const temporary = temporaryFolder();

test.each(cases.map(([name, , expected], index) => ({ name, expected, index })))('$name', ({ expected, index }) => {
  const { result, code, message = '', time, growth } = outcomes[index] as Outcome;
  expect(code ?? result).toBe(expected);
  expect(time).toBeLessThan(MOST_TIME);
  expect(growth).toBeLessThan(MOST_GROWTH);
  expect(message.length).toBeLessThan(500);
});
