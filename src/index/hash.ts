// XXH64, for checksums and for the names of index files. WebAssembly, so it is made ready once per thread.

import xxhash, { type XXHashAPI } from 'xxhash-wasm'

let api: XXHashAPI | undefined

/** Makes hash64() usable on this thread. */
export async function prepareHash(): Promise<void> {
  api ??= await xxhash()
}

/** Returns the XXH64 of bytes. Needs: prepareHash(). */
export function hash64(bytes: Uint8Array): bigint {
  return api!.h64Raw(bytes)
}

/** The same as 16 hexadecimal digits. */
export function hashHex(bytes: Uint8Array): string {
  return hash64(bytes).toString(16).padStart(16, '0')
}
