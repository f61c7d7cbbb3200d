/** The wire family of Google's Generative Language API. */
export const geminiFamily = 'gemini';

/** The generation of a model, by its name: 2.5, 3, 3.5. A name without one (`gemini-flash-latest`) follows the newest. */
export function generationOf(model: string): number {
  const [, number] = /gemini-(\d+(?:\.\d+)?)/.exec(model) ?? [];
  return number === undefined ? Number.POSITIVE_INFINITY : Number(number);
}

/** The path of a model below the base URL; a tuned model names its own collection. */
export function modelPath(model: string): string {
  const [, collection = 'models', id = model] = /^(models|tunedModels)\/(.+)$/.exec(model) ?? [];
  return `/${collection}/${encodeURIComponent(id)}`;
}
