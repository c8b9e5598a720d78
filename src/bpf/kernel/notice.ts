/** Something that did not stop the work but that a person may want to know. */
export interface Notice {
  /** A stable identifier, such as `N_MODULE_BTF`. */
  readonly code: string;
  readonly message: string;
  readonly cause?: unknown;
}

export type NoticeListener = (notice: Notice) => void;
