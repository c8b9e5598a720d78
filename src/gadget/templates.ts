const right = ['columns.alignment', 'right'] as const;
const hidden = ['columns.hidden', 'true'] as const;
const width = (columns: number): readonly [string, string] => ['columns.width', `${columns}`];
const minWidth = (columns: number): readonly [string, string] => ['columns.minwidth', `${columns}`];
const maxWidth = (columns: number): readonly [string, string] => ['columns.maxwidth', `${columns}`];
const about = (text: string): readonly [string, string] => ['description', text];

type Annotations = readonly (readonly [key: string, value: string])[];

/** Annotations that go by one name: the value of `template` in gadget.yaml, or a `gadget_*` type without its prefix. */
const templates: ReadonlyMap<string, Annotations> = new Map<string, Annotations>([
  ['timestamp', [width(35), maxWidth(35), hidden, about('When it happened')]],
  ['bytes', [width(10), right]],
  ['duration', [width(20), right]],
  ['node', [width(30), ['columns.ellipsis', 'middle']]],
  ['pod', [width(30), ['columns.ellipsis', 'middle']]],
  ['container', [width(30)]],
  ['namespace', [width(30)]],
  ['containerImageName', [width(30)]],
  ['containerImageDigest', [width(30)]],
  ['containerPid', [width(6), hidden, right]],
  ['containerStartedAt', [width(35), hidden]],
  ['comm', [maxWidth(16), about('Name of the process')]],
  ['pcomm', [maxWidth(16), hidden, about('Name of the parent process')]],
  ['pid', [minWidth(7), right, about('Process ID')]],
  ['ppid', [minWidth(7), right, hidden, about('Process ID of the parent')]],
  ['tid', [minWidth(7), right, about('Thread ID')]],
  ['ptid', [minWidth(7), right, hidden, about('Thread ID of the parent')]],
  ['uid', [minWidth(8), right, about('User ID')]],
  ['gid', [minWidth(8), right, about('Group ID')]],
  ['ns', [width(12), right, hidden]],
  ['mntns_id', [width(12), right, hidden, about('Mount namespace, as an inode number')]],
  ['netns_id', [width(12), right, hidden, about('Network namespace, as an inode number')]],
  ['l4endpoint', [minWidth(22), width(40), maxWidth(52), ['columns.ellipsis', 'middle']]],
  ['syscall', [width(18), maxWidth(28), about('System call')]],
  ['errorString', [width(12), about('Name of the error, empty on success')]],
  ['user_stack', [hidden, about('Stack in user space')]],
]);

/** The types whose fields get the template of their name, `gadget_` taken off. */
const typesWithTemplate: ReadonlySet<string> = new Set([
  'gadget_comm',
  'gadget_pcomm',
  'gadget_uid',
  'gadget_gid',
  'gadget_pid',
  'gadget_ppid',
  'gadget_tid',
  'gadget_ptid',
  'gadget_timestamp',
  'gadget_mntns_id',
  'gadget_netns_id',
  'gadget_user_stack',
]);

/** The annotations of a template; none for an unknown name. */
export function templateOf(name: string): Annotations {
  return templates.get(name) ?? [];
}

/** The template that a type brings along, null where it brings none. */
export function templateOfType(typeName: string): string | null {
  return typesWithTemplate.has(typeName) ? typeName.slice('gadget_'.length) : null;
}

/** Structs that columns show by their fields only, each under its own short name. */
export const structsOfProcesses: ReadonlySet<string> = new Set(['gadget_process', 'gadget_creds', 'gadget_parent']);
