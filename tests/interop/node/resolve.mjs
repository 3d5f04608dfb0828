// @snort/system is compiled for a bundler: its imports name files without an ending.

export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context)
  } catch (error) {
    for (const ending of specifier.startsWith('.') ? ['.js', '/index.js'] : []) {
      try {
        return await next(specifier + ending, context)
      } catch {}
    }
    throw error
  }
}
