import type { BPF_CMD } from '../../bpf/uapi/cmd.gen.ts';
import type { StructLayout } from '../../bytes/struct.ts';
import { iterCreateAttr, linkCreateAttr, linkDetachAttr, linkUpdateAttr, rawTracepointAttr } from './link.ts';
import { mapBatchAttr, mapCreateAttr, mapElemAttr } from './map.ts';
import { btfLoadAttr, enableStatsAttr, getIdAttr, infoAttr, objAttr, taskFdQueryAttr, tokenCreateAttr } from './object.ts';
import {
  progAssocStructOpsAttr,
  progAttachAttr,
  progBindMapAttr,
  progLoadAttr,
  progQueryAttr,
  progStreamReadAttr,
  progTestRunAttr,
} from './prog.ts';

/** A command of bpf(2), by the kernel's name. */
export type BpfCommand = Exclude<keyof typeof BPF_CMD, 'BPF_COMMON_ATTRS'>;

/** The part of union bpf_attr that each command of bpf(2) reads. */
export const BPF_ATTR: Readonly<Record<BpfCommand, StructLayout>> = {
  BPF_MAP_CREATE: mapCreateAttr,
  BPF_MAP_LOOKUP_ELEM: mapElemAttr,
  BPF_MAP_UPDATE_ELEM: mapElemAttr,
  BPF_MAP_DELETE_ELEM: mapElemAttr,
  BPF_MAP_GET_NEXT_KEY: mapElemAttr,
  BPF_PROG_LOAD: progLoadAttr,
  BPF_OBJ_PIN: objAttr,
  BPF_OBJ_GET: objAttr,
  BPF_PROG_ATTACH: progAttachAttr,
  BPF_PROG_DETACH: progAttachAttr,
  BPF_PROG_TEST_RUN: progTestRunAttr,
  BPF_PROG_RUN: progTestRunAttr,
  BPF_PROG_GET_NEXT_ID: getIdAttr,
  BPF_MAP_GET_NEXT_ID: getIdAttr,
  BPF_PROG_GET_FD_BY_ID: getIdAttr,
  BPF_MAP_GET_FD_BY_ID: getIdAttr,
  BPF_OBJ_GET_INFO_BY_FD: infoAttr,
  BPF_PROG_QUERY: progQueryAttr,
  BPF_RAW_TRACEPOINT_OPEN: rawTracepointAttr,
  BPF_BTF_LOAD: btfLoadAttr,
  BPF_BTF_GET_FD_BY_ID: getIdAttr,
  BPF_TASK_FD_QUERY: taskFdQueryAttr,
  BPF_MAP_LOOKUP_AND_DELETE_ELEM: mapElemAttr,
  BPF_MAP_FREEZE: mapElemAttr,
  BPF_BTF_GET_NEXT_ID: getIdAttr,
  BPF_MAP_LOOKUP_BATCH: mapBatchAttr,
  BPF_MAP_LOOKUP_AND_DELETE_BATCH: mapBatchAttr,
  BPF_MAP_UPDATE_BATCH: mapBatchAttr,
  BPF_MAP_DELETE_BATCH: mapBatchAttr,
  BPF_LINK_CREATE: linkCreateAttr,
  BPF_LINK_UPDATE: linkUpdateAttr,
  BPF_LINK_GET_FD_BY_ID: getIdAttr,
  BPF_LINK_GET_NEXT_ID: getIdAttr,
  BPF_ENABLE_STATS: enableStatsAttr,
  BPF_ITER_CREATE: iterCreateAttr,
  BPF_LINK_DETACH: linkDetachAttr,
  BPF_PROG_BIND_MAP: progBindMapAttr,
  BPF_TOKEN_CREATE: tokenCreateAttr,
  BPF_PROG_STREAM_READ_BY_FD: progStreamReadAttr,
  BPF_PROG_ASSOC_STRUCT_OPS: progAssocStructOpsAttr,
};

export { btfInfo, linkInfo, mapInfo, progInfo } from './info.ts';
export { iterLinkInfo, linkCreateAttr } from './link.ts';
export { mapBatchAttr, mapCreateAttr, mapElemAttr } from './map.ts';
export { progLoadAttr, progQueryAttr, progTestRunAttr } from './prog.ts';
