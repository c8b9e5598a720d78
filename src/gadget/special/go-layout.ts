import type { EpochTime } from '../context.ts';

const months = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

type Part = (date: Date, nanoseconds: number) => string;

const two = (value: number): string => String(value).padStart(2, '0');
const hour12 = (date: Date): number => date.getHours() % 12 || 12;

/** The elements of Go's reference time (Mon Jan 2 15:04:05 MST 2006), longest first where one begins another. */
const elements: readonly (readonly [string, Part])[] = [
  ['January', (date) => months[date.getMonth()] as string],
  ['Monday', (date) => days[date.getDay()] as string],
  ['Z07:00', (date) => zone(date, ':', true)],
  ['-07:00', (date) => zone(date, ':', false)],
  ['Z0700', (date) => zone(date, '', true)],
  ['-0700', (date) => zone(date, '', false)],
  ['2006', (date) => String(date.getFullYear()).padStart(4, '0')],
  ['Jan', (date) => (months[date.getMonth()] as string).slice(0, 3)],
  ['Mon', (date) => (days[date.getDay()] as string).slice(0, 3)],
  ['MST', (date) => zoneName(date)],
  ['002', (date) => String(dayOfYear(date)).padStart(3, '0')],
  ['-07', (date) => zone(date, null, false)],
  ['01', (date) => two(date.getMonth() + 1)],
  ['02', (date) => two(date.getDate())],
  ['03', (date) => two(hour12(date))],
  ['04', (date) => two(date.getMinutes())],
  ['05', (date) => two(date.getSeconds())],
  ['06', (date) => two(date.getFullYear() % 100)],
  ['15', (date) => two(date.getHours())],
  ['PM', (date) => (date.getHours() < 12 ? 'AM' : 'PM')],
  ['pm', (date) => (date.getHours() < 12 ? 'am' : 'pm')],
  ['_2', (date) => String(date.getDate()).padStart(2, ' ')],
  ['1', (date) => String(date.getMonth() + 1)],
  ['2', (date) => String(date.getDate())],
  ['3', (date) => String(hour12(date))],
  ['4', (date) => String(date.getMinutes())],
  ['5', (date) => String(date.getSeconds())],
];

/** Compiles a layout such as `15:04:05.000`, as Go's time.Format takes it, to a function of local time. */
export function compileLayout(layout: string): (time: EpochTime) => string {
  const parts: (string | Part)[] = [];
  for (let at = 0; at < layout.length;) {
    const fraction = /^[.,](0+|9+)(?!\d)/.exec(layout.slice(at));
    if (fraction !== null) {
      parts.push(fractionPart(fraction[0]));
      at += fraction[0].length;
      continue;
    }
    const element = elements.find(([text]) => layout.startsWith(text, at));
    parts.push(element?.[1] ?? (layout[at] as string));
    at += element?.[0].length ?? 1;
  }
  return ({ seconds, nanoseconds }) => {
    const date = new Date(seconds * 1000);
    return parts.map((part) => (typeof part === 'string' ? part : part(date, nanoseconds))).join('');
  };
}

function fractionPart(text: string): Part {
  const digits = text.length - 1;
  const trim = text[1] === '9';
  return (_, nanoseconds) => {
    const all = String(nanoseconds).padStart(9, '0').slice(0, digits);
    const kept = trim ? all.replace(/0+$/, '') : all;
    return kept === '' ? '' : `${text[0]}${kept}`;
  };
}

/** `+01:00`, or with `separator` null the hours alone; `Z` for UTC where the layout asks for it. */
function zone(date: Date, separator: string | null, zulu: boolean): string {
  const minutes = -date.getTimezoneOffset();
  if (zulu && minutes === 0) return 'Z';
  const ahead = Math.abs(minutes);
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(ahead / 60))}${separator === null ? '' : separator + two(ahead % 60)}`;
}

function zoneName(date: Date): string {
  return (
    new Intl.DateTimeFormat('en-US', { timeZoneName: 'short' }).formatToParts(date).find((part) => part.type === 'timeZoneName')?.value ??
    ''
  );
}

function dayOfYear(date: Date): number {
  return Math.round((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / 86_400_000) + 1;
}
