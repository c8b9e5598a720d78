import t from 'tap';
import { Kernel } from '../../../src/bpf/index.ts';
import { SocketEnricher } from '../../../src/enrich/sockets/index.ts';
import { kernelVersion, versionCode } from '../../../src/sys/kernel-version.ts';
import { networkPerl } from '../../support/network.ts';
import { runPerl } from '../../support/process.ts';
import { keyOf, pidOf } from './entries.ts';
import { runCases } from './cases.ts';
import { connectionsLeaveNothing } from './churn.ts';

// Slow machines take their time.
t.setTimeout(110_000);

/** Linux 5.11: connections remember their listener. Before, what comes in first is nobody's while a port is shared. */
const knowsListeners = kernelVersion() >= versionCode(5, 11);
const firstOfConnection = new Set(['listeners', 'orphan', 'thread']);

void t.test('who sends and who receives, in every case', async (t) => {
  const { cases, lost } = await runCases();
  t.equal(lost, 0);
  t.same(
    [...cases.keys()].toSorted(),
    'activated address127.0.0.1 address127.0.0.2 again child-reads connected destination6 dual dual6 exec headers6 hop6 inetd inherited killed listeners moved old options4 orphan passed prefork reused1 reused2 reused3 scm scm-kept thread workers'.split(
      ' ',
    ),
  );
  for (const [name, all] of cases) {
    for (const { side, isAnswer, pid, isShared, told, comm } of all) {
      const what = `${name}: ${side} ${isAnswer ? 'an answer' : 'a question'}`;
      if (!knowsListeners && told === 0 && side === 'receives' && !isAnswer && firstOfConnection.has(name))
        t.equal(comm, 'ambiguous', what);
      else if (isShared) t.same([told, comm], [0, 'ambiguous'], what);
      // Which of the sockets of a port gets a datagram the kernel decides when it delivers it: afterwards.
      else if (name === 'workers' && side === 'receives' && !isAnswer) t.same([told, comm], [0, 'ambiguous'], what);
      // Whoever accepts the connection answers it; until then it is known that nobody knows.
      else if (name === 'prefork' && side === 'receives' && !isAnswer && told === 0) t.equal(comm, 'ambiguous', what);
      else t.equal(told, pid, what);
    }
  }
});

void t.test('a process that lives for a moment in a namespace that is new', async (t) => {
  const kernel = new Kernel();
  const enricher = new SocketEnricher(kernel, { keepMs: 60_000 });
  t.teardown(() => {
    enricher.close();
    kernel.close();
  });
  const { text } = await runPerl(`${networkPerl}
    for (1 .. 20) { my $p = fork; if (!$p) { own_network; my $c = fork; if (!$c) { socket(my $s, AF_INET, SOCK_DGRAM, 0); send($s, "x", 0, at(AF_INET, "127.0.0.1", 9)); print "socket ", port_of($s), " $$\\n"; exit } waitpid $c, 0; exit } waitpid $p, 0 }`);
  const found = Array.from(text.matchAll(/netns (\d+)\s+socket (\d+) (\d+)/g));
  t.equal(found.length, 20);
  for (const [, netns, port, pid] of found) {
    t.equal(pidOf(enricher.sockets.lookup(keyOf(Number(netns), 17, Number(port)))), Number(pid), `port ${port}`);
  }
});

void t.test('connections in a row leave nothing behind', (t) => connectionsLeaveNothing(t, 300));
