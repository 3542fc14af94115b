// npm nacos 2.6.3: HTTP v1 with beats, and pushes over UDP.
import { execFileSync } from 'node:child_process';
import { setTimeout as rest } from 'node:timers/promises';
import nacos from 'nacos';

const { SERVER, SERVER_CONTROL, NACOS_USER, NACOS_PASSWORD } = process.env;
const SDK = `node 2.6.3${NACOS_USER ? ' with a user' : ''}`;
const USER = NACOS_USER ? { username: NACOS_USER, password: NACOS_PASSWORD } : {};
const IP = '10.3.0.1';
// The SDK asks again every 10 s, so that what comes earlier was pushed.
const PUSHED = 5_000;
const REDONE = 60_000;

const counts = { passed: 0, failed: 0, skipped: 0 };

async function holds(sentence, prove) {
  try {
    await prove();
    counts.passed += 1;
    console.log(`${SDK}: ${sentence} ... ok`);
  } catch (why) {
    counts.failed += 1;
    console.log(`${SDK}: ${sentence} ... FAILED\n    ${String(why?.message ?? why).replaceAll('\n', ' ')}`);
  }
}

function is(what, truth) {
  if (!truth) throw new Error(what);
}

async function until(what, milliseconds, ask) {
  const end = Date.now() + milliseconds;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await rest(20);
  }
}

async function http(method, path, query) {
  const answer = await fetch(`http://${SERVER}/nacos${path}?${new URLSearchParams({ ...query, ...USER })}`, { method });
  const text = await answer.text();
  is(`${method} ${path} answered ${answer.status} ${text}`, answer.ok);
  return text;
}

async function listed(service) {
  const page = JSON.parse(await http('GET', '/v1/ns/instance/list', { serviceName: service }));
  return new Map(page.hosts.map((host) => [host.port, host]));
}

const listedOrStarting = (service) => listed(service).catch(() => undefined);
const control = (verb) => execFileSync(SERVER_CONTROL, [verb], { stdio: 'ignore', timeout: 60_000 });
const quiet = { info() {}, debug() {}, warn() {}, error() {}, log() {} };

async function connect() {
  const client = new nacos.NacosNamingClient({ logger: quiet, serverList: SERVER, namespace: 'public', ...USER });
  client.on('error', () => {}); // what the SDK cannot reach while the server restarts is no failure of ours
  await client.ready();
  return client;
}

/** Keeps the newest list that a subscription was told, by port. */
function watch(client, service) {
  const heard = { hosts: undefined };
  client.subscribe(service, (hosts) => {
    heard.hosts = new Map(hosts.map((host) => [host.port, host]));
  });
  heard.until = (what, ask, milliseconds = PUSHED) => until(what, milliseconds, () => heard.hosts && ask(heard.hosts));
  return heard;
}

const provider = await connect();
const consumer = await connect();

await holds('the server says that it is up', async () => {
  is('UP', (await provider.getServerStatus()) === 'UP');
});

const configs = new nacos.NacosConfigClient({ serverAddr: SERVER, namespace: '', ...USER });
configs.on('error', () => {});

await holds('a config that nobody keeps is not found, and is listened to', async () => {
  const text = await configs.getConfig('nobodys.yaml', 'DEFAULT_GROUP');
  is(`no config, but ${text}`, !text);
  configs.subscribe({ dataId: 'nobodys.yaml', group: 'DEFAULT_GROUP' }, (told) => is(`told of ${told}`, !told));
});

await holds('an instance that is registered is found with all its values', async () => {
  await provider.registerInstance('node-read', { ip: IP, port: 3001, weight: 2.5, metadata: { zone: 'a' } });
  const [host] = await until('the instance', PUSHED, async () => {
    const hosts = await consumer.getAllInstances('node-read', 'DEFAULT_GROUP', '', false);
    return hosts.length > 0 && hosts;
  });
  is(JSON.stringify(host), host.ip === IP && host.port === 3001 && host.weight === 2.5 && host.metadata.zone === 'a');
  is(JSON.stringify(host), host.healthy && host.enabled && host.ephemeral);
});

await holds('only healthy and enabled instances are selected', async () => {
  const hosts = await consumer.selectInstances('node-read', 'DEFAULT_GROUP', '', true, false);
  is('one instance', hosts.length === 1 && hosts[0].port === 3001);
});

await holds('a persistent instance is registered and deregistered', async () => {
  await provider.registerInstance('node-kept', { ip: IP, port: 3005, ephemeral: false });
  const host = await until('the instance', PUSHED, async () => (await listed('node-kept')).get(3005));
  is(JSON.stringify(host), host.ephemeral === false);
  await provider.deregisterInstance('node-kept', { ip: IP, port: 3005, ephemeral: false });
  await until('an empty list', PUSHED, async () => (await listed('node-kept')).size === 0);
});

const told = watch(consumer, 'node-push');

await holds('a subscriber is told over UDP of a new instance', async () => {
  // The one that stays: the SDK takes an empty list for a mistake and keeps what it had.
  await provider.registerInstance('node-push', { ip: IP, port: 3001 });
  await told.until('the first instance', (hosts) => hosts.has(3001));
  await rest(1_500); // past the one early question, after which the SDK asks every 10 s
  await provider.registerInstance('node-push', { ip: IP, port: 3002 });
  await told.until('the instance', (hosts) => hosts.has(3002), 3_000);
});

await holds('a subscriber is told over UDP of a changed instance', async () => {
  const change = { serviceName: 'node-push', ip: IP, port: 3002, weight: 7, metadata: '{"colour":"red"}' };
  await http('PUT', '/v1/ns/instance', change);
  await told.until('the change', (hosts) => hosts.get(3002)?.metadata?.colour === 'red', 3_000);
});

await holds('a subscriber is told over UDP of an instance that is removed', async () => {
  await provider.deregisterInstance('node-push', { ip: IP, port: 3002 });
  await told.until('one instance', (hosts) => hosts.size === 1 && hosts.has(3001), 3_000);
});

await holds('beats keep an instance healthy for 35 s', async () => {
  await provider.registerInstance('node-alive', { ip: IP, port: 3003 });
  const end = Date.now() + 35_000;
  while (Date.now() < end) {
    const host = (await listed('node-alive')).get(3003);
    is(`the instance ${JSON.stringify(host)}`, host?.healthy);
    await rest(200);
  }
});

await holds('an instance that is deregistered is gone', async () => {
  await provider.deregisterInstance('node-alive', { ip: IP, port: 3003 });
  await until('an empty list', PUSHED, async () => (await listed('node-alive')).size === 0);
});

const afterRestart = {
  'after kill -9 and restart a reader never misses a beating instance': async () => {
    await provider.registerInstance('node-redo', { ip: IP, port: 3004, metadata: { kept: 'yes' } });
    await rest(1_000); // the checkpoint is at most 500 ms behind
    control('restart');
    let answers = 0;
    const end = Date.now() + 5_000;
    while (Date.now() < end) {
      const answer = await listedOrStarting('node-redo');
      is(`answer ${answers} has the instance`, answer === undefined || answer.has(3004));
      answers += answer === undefined ? 0 : 1;
      await rest(10);
    }
    is('answers', answers > 0);
  },
  'after a restart without data the next beats register again': async () => {
    control('empty');
    const host = await until('the instance', REDONE, async () => (await listedOrStarting('node-redo'))?.get(3004));
    is(JSON.stringify(host), host.metadata.kept === 'yes');
  },
  'after a restart without data the subscription is told of changes again': async () => {
    await provider.registerInstance('node-push', { ip: IP, port: 3005 });
    await told.until('the instance', (hosts) => hosts.has(3005), REDONE);
  },
};
for (const [sentence, prove] of Object.entries(afterRestart)) {
  if (SERVER_CONTROL) {
    await holds(sentence, prove);
  } else {
    counts.skipped += 1;
    console.log(`${SDK}: ${sentence} ... skipped: the server is not ours to restart`);
  }
}

console.log(`counts ${counts.passed} ${counts.failed} ${counts.skipped}`);
process.exit(counts.failed ? 1 : 0);
