/** What goes wrong with a template, in the words of Python and Jinja where they have some. */

/** The source is no template. */
export class TemplateSyntaxError extends Error {}

/** A template that fails while it is rendered, or says that it does. */
export class TemplateError extends Error {}

/** Says that an operation does not fit a value, as Python's TypeError. */
export function typeError(message: string): never {
  throw new TemplateError(message);
}
