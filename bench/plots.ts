// Cost against the number of layers, as SVG: one plot per question and figure that has several depths.

import { parse, type Spec, View } from 'vega'
import { scaleOf } from './report.js'
import type { CaseResult } from './results.js'

type Point = { driver: string; layers: number; value: number; low: number; high: number }

/** Returns the cases of each question that differ in their number of layers. */
function byDepth(all: readonly CaseResult[]): CaseResult[][] {
  const groups = new Map<string, CaseResult[]>()
  for (const result of all) {
    if (result.layers === undefined) continue
    groups.set(result.question, [...(groups.get(result.question) ?? []), result])
  }
  return [...groups.values()].filter((cases) => cases.length > 1)
}

function pointsOf(cases: readonly CaseResult[], figure: string): Point[] {
  return cases.flatMap(({ layers, drivers }) =>
    drivers.flatMap(({ title, answers }) => {
      const { median = null, low = null, high = null } = answers[figure] ?? {}
      if (median === null || low === null || high === null || median <= 0) return []
      return [{ driver: title, layers: layers!, value: median, low, high }]
    }),
  )
}

/** Both axes by powers: depths and costs span orders of magnitude. */
function specOf(title: string, unit: string, points: readonly Point[]): Spec {
  const drivers = [...new Set(points.map(({ driver }) => driver))]
  const depths = [...new Set(points.map(({ layers }) => layers))]
  const x = { scale: 'x', field: 'layers' }
  return {
    width: 520,
    height: 320,
    padding: 8,
    background: 'white',
    title: { text: title, anchor: 'start', fontSize: 14 },
    data: [{ name: 'points', values: [...points] }],
    scales: [
      { name: 'x', type: 'log', domain: { data: 'points', field: 'layers' }, range: 'width', nice: false },
      {
        name: 'y',
        type: 'log',
        domain: {
          fields: [
            { data: 'points', field: 'low' },
            { data: 'points', field: 'high' },
          ],
        },
        range: 'height',
        nice: true,
      },
      { name: 'color', type: 'ordinal', domain: drivers, range: { scheme: 'tableau20' } },
    ],
    axes: [
      { orient: 'bottom', scale: 'x', title: 'layers', values: depths, format: 'd' },
      { orient: 'left', scale: 'y', title: unit, grid: true, tickCount: 6, format: '~g' },
    ],
    legends: [
      { stroke: 'color', symbolType: 'stroke', symbolStrokeWidth: 2.5, labelLimit: 300, orient: 'right' },
    ],
    marks: [
      {
        type: 'group',
        from: { facet: { name: 'series', data: 'points', groupby: 'driver' } },
        marks: [
          {
            type: 'rule',
            from: { data: 'series' },
            encode: {
              enter: {
                x,
                y: { scale: 'y', field: 'low' },
                y2: { scale: 'y', field: 'high' },
                stroke: { scale: 'color', field: 'driver' },
                opacity: { value: 0.4 },
              },
            },
          },
          {
            type: 'line',
            from: { data: 'series' },
            encode: {
              enter: {
                x,
                y: { scale: 'y', field: 'value' },
                stroke: { scale: 'color', field: 'driver' },
                strokeWidth: { value: 2 },
              },
            },
          },
          {
            type: 'symbol',
            from: { data: 'series' },
            encode: {
              enter: {
                x,
                y: { scale: 'y', field: 'value' },
                fill: { scale: 'color', field: 'driver' },
                size: { value: 36 },
              },
            },
          },
        ],
      },
    ],
  }
}

export type Plot = {
  readonly question: string
  readonly name: string
  readonly title: string
  readonly svg: string
}

/** Returns the plots; none when there is no question over several depths. */
export async function plotsOf(all: readonly CaseResult[]): Promise<Plot[]> {
  const plots: Plot[] = []
  for (const cases of byDepth(all)) {
    const { question, questionTitle, figures } = cases[0]!
    for (const { id, title, unit } of figures) {
      if (unit !== 'ns') continue
      const points = pointsOf(cases, id)
      if (points.length === 0) continue
      const [size, unitName] = scaleOf(unit, [Math.max(...points.map(({ value }) => value)) / 10])
      const scaled = points.map((point) => ({
        ...point,
        value: point.value / size,
        low: point.low / size,
        high: point.high / size,
      }))
      const heading = `${questionTitle}: ${title}`
      const svg = await new View(parse(specOf(heading, unitName, scaled)), { renderer: 'none' }).toSVG()
      plots.push({ question, name: `${question}-${id}.svg`, title: heading, svg })
    }
  }
  return plots
}
