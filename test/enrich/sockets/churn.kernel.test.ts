import t from 'tap';
import { connectionsLeaveNothing } from './churn.ts';

t.setTimeout(240_000);

void t.test('10,000 connections in a row leave nothing behind', (t) => connectionsLeaveNothing(t, 10_000));
