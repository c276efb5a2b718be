// `mica images`: what is in the store, a line for each name.

import { type Command, InvalidArgumentError } from 'commander'
import { shortId } from '../store/digest.js'
import { filterImages, type ListedImage, listedImages } from '../store/list-images.js'
import { familiar } from '../store/reference.js'
import { formatAge, formatBytes } from './human.js'
import { storeCommand, withStore } from './store-command.js'
import { formatRows } from './template.js'

type Options = {
  root?: string
  all?: boolean
  quiet?: boolean
  digests?: boolean
  trunc: boolean
  format?: string
  filter?: readonly string[]
  json?: boolean
}

/** In the order of columns. */
const HEADS = {
  Repository: 'REPOSITORY',
  Tag: 'TAG',
  Digest: 'DIGEST',
  ID: 'IMAGE ID',
  CreatedSince: 'CREATED',
  CreatedAt: 'CREATED AT',
  Size: 'SIZE',
}
const NONE = '<none>'

/** The fields of a line, named as docker names them in --format. */
function fields(image: ListedImage, isShort: boolean): Record<string, string> {
  return {
    Repository: image.repository === undefined ? NONE : familiar(image.repository),
    Tag: image.tag ?? NONE,
    Digest: image.digest ?? NONE,
    ID: isShort ? shortId(image.id) : image.id,
    CreatedSince: formatAge(image.created),
    CreatedAt: image.created,
    Size: formatBytes(image.size),
  }
}

function print(images: readonly ListedImage[], options: Options): void {
  const isShort = options.trunc
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(images, null, 2)}\n`)
    return
  }
  const rows = images.map((image) => fields(image, isShort))
  if (options.quiet === true) {
    for (const id of new Set(rows.map(({ ID }) => ID!))) process.stdout.write(`${id}\n`)
    return
  }
  if (options.format !== undefined) {
    for (const line of formatRows(options.format, rows, HEADS)) process.stdout.write(`${line}\n`)
    return
  }
  const isShown = (field: string): boolean =>
    field !== 'CreatedAt' && (field !== 'Digest' || options.digests === true)
  const columns = Object.keys(HEADS).filter(isShown)
  const template = `table ${columns.map((field) => `{{.${field}}}`).join('\t')}`
  for (const line of formatRows(template, rows, HEADS)) process.stdout.write(`${line}\n`)
}

async function run(references: readonly string[], options: Options): Promise<void> {
  await withStore(options.root, '', ({ store }) => {
    const filters = [...(options.filter ?? []), ...references.map((each) => `reference=${each}`)]
    print(filterImages(store, listedImages(store, options.all), filters), options)
  })
}

function collect(value: string, before: readonly string[] = []): string[] {
  if (!value.includes('=')) throw new InvalidArgumentError('a filter is KEY=VALUE')
  return [...before, value]
}

/** Returns the command. */
export function imagesCommand(): Command {
  return storeCommand('images', 'list images')
    .argument('[reference...]', 'only these: a name, or a pattern with * and ?')
    .option('-a, --all', 'also the digests of images that have tags, by repository')
    .option('-q, --quiet', 'ids only')
    .option('--digests', 'with the digest that a registry knows them by')
    .option('--no-trunc', 'whole ids')
    .option('-f, --filter <key=value>', 'reference, before, since, label, dangling', collect)
    .option('--format <template>', "like '{{.Repository}}:{{.Tag}}', 'table {{.ID}}\\t{{.Size}}', or json")
    .option('--json', 'for programs')
    .action(run)
}
