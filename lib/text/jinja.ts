/**
 * The part of @huggingface/jinja that is used. Declared here because that package's own declarations are for ES modules
 * only, while it ships a CommonJS build too.
 */

/** A parsed template. Its constructor and `render` throw plain errors. */
export interface JinjaTemplate {
  render(variables: Readonly<Record<string, unknown>>): string;
}

export const { Template: JinjaTemplate } = require('@huggingface/jinja') as {
  Template: new (source: string) => JinjaTemplate;
};
