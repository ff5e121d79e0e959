/** Errors of templates, in the words of Python and Jinja where those exist. */

/** A syntax error in the source of a template. */
export class TemplateSyntaxError extends Error {}

/** An error during rendering, or one that the template raises itself. */
export class TemplateError extends Error {}

/** Throws an error like Python's TypeError. */
export function typeError(message: string): never {
  throw new TemplateError(message);
}
