/** Windows of text: their start, extent and scored tokens, for every use. */

import fc from 'fast-check';
import { Dataset } from '../../lib/data/dataset';
import { MemoryTokens } from '../../lib/data/token_file';

const datasetOf = (ids: ArrayLike<number>) => new Dataset(new MemoryTokens(Int32Array.from(ids)));

describe('a stream is cut', () => {
  test.each([
    [10, { window: 4, stride: 4 }, [0, 4], [1, 1]],
    [10, { window: 4, stride: 2 }, [0, 2, 4, 6], [1, 2, 2, 2]],
    [10, { window: 4, stride: 3 }, [0, 3, 6], [1, 1, 1]],
    [4, { window: 4, stride: 1 }, [0], [1]],
    [3, { window: 4, stride: 4 }, [], []],
  ])('of %d tokens without a start token by %j', async (tokens, { window, stride }, places, scoredFrom) => {
    const data = datasetOf(Array.from({ length: tokens }, (_, i) => i));
    const windows = await data.windows({ window }, { stride, most: Infinity });
    expect(windows.map((each) => each.place)).toEqual(places);
    expect(windows.map((each) => each.scoredFrom)).toEqual(scoredFrom);
    expect(await data.windows({ window }, { stride, most: 1 })).toEqual(windows.slice(0, 1));
  });

  /** Cuts windows and returns their ids, with scored ones negated. */
  async function cut(ids: readonly number[], window: number, stride?: number): Promise<number[][]> {
    const data = datasetOf(ids);
    const shape = { window, startId: 9 };
    const windows = await data.windows(shape, { most: Infinity, ...(stride !== undefined && { stride }) });
    const read = windows.map(async ({ place: at, scoredFrom }) =>
      [...(await data.window(at, shape)).ids].map((id, i) => (i < scoredFrom ? id : -id)),
    );
    return Promise.all(read);
  }

  test.each<[string, number[], number | undefined, number[][]]>([
    [
      'that lacks it',
      [1, 2, 3, 4, 5, 6, 7],
      undefined,
      [
        [9, -1, -2, -3],
        [9, -4, -5, -6],
      ],
    ],
    [
      'that begins with it',
      [9, 1, 2, 3, 4, 5, 6, 7],
      undefined,
      [
        [9, -1, -2, -3],
        [9, -4, -5, -6],
      ],
    ],
    ['with documents within', [9, 1, 9, 2, 9, 3, 4], undefined, [[9, -1, -9, -2]]],
    [
      'where a document begins with a window',
      [9, 1, 2, 3, 9, 4, 5, 6, 7, 8, 1],
      undefined,
      [
        [9, -1, -2, -3],
        [9, -4, -5, -6],
        [9, -7, -8, -1],
      ],
    ],
    ['a token short of a window', [9, 1, 2], undefined, []],
    ['of just a window without its start', [1, 2, 3], undefined, [[9, -1, -2, -3]]],
    [
      'with overlap',
      [9, 1, 2, 3, 4, 5],
      1,
      [
        [9, -1, -2, -3],
        [9, 2, 3, -4],
        [9, 3, 4, -5],
      ],
    ],
    [
      'with overlap, a document within',
      [9, 1, 2, 9, 3, 4, 5, 6],
      2,
      [
        [9, -1, -2, -9],
        [9, -3, -4, -5],
      ],
    ],
  ])('by a start token: %s', async (_, ids, stride, expected) => {
    expect(await cut(ids, 4, stride)).toEqual(expected);
  });

  test('so that every window begins with one start token and no token of the text is lost or scored twice', async () => {
    const streams = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(
        streams,
        fc.integer({ min: 2, max: 8 }),
        fc.integer({ min: 1, max: 7 }),
        async (ids, window, step) => {
          const stride = Math.min(step, window - 1);
          const windows = await cut(ids, window, stride);
          for (const own of windows) {
            expect(own[0]).toBe(9);
            expect(own).toHaveLength(window);
            if (own === windows[0] || stride === window - 1)
              expect(own.filter((id) => id < 0)).toHaveLength(window - 1);
          }
          // scored tokens are the text in order, except start tokens that begin a window
          const scored = windows.flatMap((own) => own.filter((id) => id < 0).map((id) => -id));
          let at = 0;
          for (const id of scored) {
            while (ids[at] === 9 && id !== 9) at++;
            expect(id).toBe(ids[at++]);
          }
          const rest = ids.slice(at).filter((id) => id !== 9);
          expect(rest.length).toBeLessThan(window - 1 + stride);
        },
      ),
    );
  });
});
