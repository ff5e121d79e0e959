// Defers the requires of compiled modules to their first use. `require('mbok')` would otherwise read and run more than 300
// files, most of which a program that generates or converts never needs.
import { readFileSync, writeFileSync } from 'node:fs';
import ts from 'typescript';

/**
 * Rewrites `const x_1 = require("./x")`, as the compiler emits imports, to a function that requires at its first call, and
 * every use of `x_1` to a call. Imports for their effects alone stay where they are.
 */
export function deferRequires(file) {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
  const modules = new Map(source.statements.map(requiredModule).filter(Boolean));
  const edits = [...modules].map(([name, statement]) => [
    statement.getStart(),
    statement.end,
    `let ${name}_module; const ${name} = () => (${name}_module ??= ${callIn(statement)});`,
  ]);
  const insert = (position, text) => edits.push([position, position, text]);
  const visit = (node) => {
    if (ts.isVariableStatement(node) && requiredModule(node) !== undefined) return;
    if (ts.isIdentifier(node) && modules.has(node.text)) insert(node.end, '()');
    // `new x_1().Name()` would construct x_1
    if (ts.isNewExpression(node) && modules.has(firstName(node.expression))) {
      insert(node.expression.getStart(), '(');
      insert(node.expression.end, ')');
    }
    ts.forEachChild(node, visit);
  };
  ts.forEachChild(source, visit);
  let { text } = source;
  for (const [start, end, replacement] of edits.sort(([a], [b]) => b - a))
    text = text.slice(0, start) + replacement + text.slice(end);
  writeFileSync(file, text);
}

/** Returns [name, statement] of `const name_1 = require("…")`, undefined for other statements. */
function requiredModule(statement) {
  if (!ts.isVariableStatement(statement)) return undefined;
  const [{ name }] = statement.declarationList.declarations;
  const isRequire = /_\d+$/.test(name.getText()) && /^require\("[^"]*"\)$/.test(callIn(statement));
  return isRequire ? [name.getText(), statement] : undefined;
}

/** Returns `a` of `a.b.c`. */
function firstName(expression) {
  return ts.isPropertyAccessExpression(expression) ? firstName(expression.expression) : expression.text;
}

function callIn(statement) {
  return statement.declarationList.declarations[0].initializer?.getText() ?? '';
}
