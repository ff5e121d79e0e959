/** Embeddings and head in 8 bits with one scale a row: on small models they are most of the file. */

import { Graph } from '../graph/graph';
import { quantiseInt8 } from '../graph/operations/weights';
import { Plan } from '../graph/plan';
import type { StoredMatrix } from '../models/checkpoint';
import type { ParameterSpecification } from '../models/family';
import { Matrix } from '../native/matrix';
import { type Parameters, scaleName } from '../nn/builder';

/** Where tables are read from, one at a time. */
export interface TableSource {
  readonly specifications: readonly ParameterSpecification[];
  borrow(specifications: readonly ParameterSpecification[]): Promise<{ parameters: Parameters; release(): void }>;
}

/** Tables in 8 bits; whoever receives them owns the matrices. */
export interface QuantisedTables {
  /** Whole numbers and scales by name, as a model stores them. */
  readonly replaced: Map<string, StoredMatrix>;
  /** ‖W − Ŵ‖ / ‖W‖ by the table's name. */
  readonly errors: Map<string, number>;
}

/** Every embedding and untied head in 8 bits. Throws MBOK_NON_FINITE, MBOK_ABORTED and as `borrow`. */
export async function quantiseTables(source: TableSource, signal: AbortSignal | undefined): Promise<QuantisedTables> {
  const tables: QuantisedTables = { replaced: new Map(), errors: new Map() };
  try {
    for (const specification of source.specifications) {
      const { name, role } = specification;
      if (role !== 'embedding' && role !== 'head') continue;
      const { parameters, release } = await source.borrow([specification]);
      try {
        const { numbers, scales, error } = await quantise(parameters.get(name) as Matrix, signal);
        tables.replaced.set(name, { matrix: numbers, storage: 'I8' });
        tables.replaced.set(scaleName(name), { matrix: scales, storage: 'F16' });
        tables.errors.set(name, error);
      } finally {
        release();
      }
    }
    return tables;
  } catch (error) {
    for (const { matrix } of tables.replaced.values()) matrix.dispose();
    throw error;
  }
}

/** numbers i8 · scales f32 [rows, 1] ≈ table, of f32 or 16 bits. */
async function quantise(
  table: Matrix,
  signal: AbortSignal | undefined,
): Promise<{ numbers: Matrix; scales: Matrix; error: number }> {
  const { rows, cols } = table;
  const numbers = new Matrix({ rows, cols, type: 'i8' });
  const scales = new Matrix({ rows, cols: 1 });
  try {
    const graph = new Graph();
    graph.output('error', quantiseInt8(graph.bind(table), graph.bind(numbers), graph.bind(scales)));
    await using plan = new Plan(graph);
    const { error } = await plan.run({ signal });
    return { numbers, scales, error: error?.[0] as number };
  } catch (error) {
    numbers.dispose();
    scales.dispose();
    throw error;
  }
}
