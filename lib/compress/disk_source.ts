/** A source of dense weights on disk. */

import { ConstantTables } from '../models/constant_tables';
import { modelParts } from '../models/parts';
import type { ModelSource } from '../models/source';
import { denseStorage } from '../models/stored_matrix';
import type { Matrix } from '../native/matrix';
import type { DenseSource } from './dense_source';

/** Wraps a model on disk as a source: `borrow` reads matrices, `release` frees them. Dispose it after use. */
export function diskSource(source: ModelSource): DenseSource & Disposable {
  const { family, config, weights } = source;
  const constants = new ConstantTables(family, config);
  const byName = new Map(source.parts.map((part) => [part.name, part]));
  return {
    family,
    config,
    constants: (positions) => constants.upTo(positions),
    specifications: source.specifications,
    formats: source.formats,
    storage(name) {
      const part = byName.get(name);
      return part && denseStorage(weights, part);
    },
    async borrow(specifications) {
      const parameters = new Map<string, Matrix>();
      const release = () => {
        for (const matrix of parameters.values()) matrix.dispose();
      };
      try {
        for (const part of modelParts(specifications, source.formats)) {
          parameters.set(part.name, (await source.read({ part, from: part })).matrix);
        }
        return { parameters, release };
      } catch (error) {
        release();
        throw error;
      }
    },
    [Symbol.dispose]() {
      constants[Symbol.dispose]();
    },
  };
}
