// Medians and ranges of a handful of measurements.

/** Returns the value below which `part` of the values lie, between neighbours by proportion. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = part * (sorted.length - 1)
  const low = sorted[Math.floor(at)] ?? Number.NaN
  const high = sorted[Math.ceil(at)] ?? Number.NaN
  return low + (high - low) * (at - Math.floor(at))
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export type Spread = { readonly median: number; readonly low: number; readonly high: number }

/** From ten values on the 10th to the 90th percentile, below that the least and the greatest. */
export function spread(values: readonly number[]): Spread {
  const edge = values.length >= 10 ? 0.1 : 0
  return { median: median(values), low: quantile(values, edge), high: quantile(values, 1 - edge) }
}

/** Returns the median of the ratios of what was measured in the same round; NaN when nothing was. */
export function pairedRatio(values: readonly number[], reference: readonly number[]): number {
  const ratios = values.flatMap((value, round) => {
    const base = reference[round]
    return base === undefined || !(base > 0) || Number.isNaN(value) ? [] : [value / base]
  })
  return ratios.length === 0 ? Number.NaN : median(ratios)
}
