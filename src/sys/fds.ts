declare const kind: unique symbol;

/** A file descriptor of a known kind: a number that the compiler does not let pass for another kind. */
export type Fd<Kind extends string = string> = number & { readonly [kind]: Kind };

export type MapFd = Fd<'map'>;
export type ProgFd = Fd<'prog'>;
export type LinkFd = Fd<'link'>;
export type BtfFd = Fd<'btf'>;
export type TokenFd = Fd<'token'>;
export type PerfFd = Fd<'perf'>;
export type EpollFd = Fd<'epoll'>;
export type FileFd = Fd<'file'>;
export type DirFd = Fd<'dir'>;
export type SocketFd = Fd<'socket'>;
export type NamespaceFd = Fd<'namespace'>;
