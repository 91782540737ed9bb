// A worker in Node for a queue of xclaim: DATABASE_URL=postgresql://... node worker.js orders
//
// It claims a message, works on it, and acks it in the transaction in which the work has written: both or neither. What
// raises is released and tried again after a growing pause. Many such workers may run, beside those in Python.

import os from 'node:os'
import pg from 'pg'

const LOST = 'XC001' // the SQLSTATE of a claim that is no longer held
const LEASE = Number(process.env.LEASE_SECONDS ?? 300) // when a worker dies, its message comes back after this
const LOOK = Number(process.env.LOOK_SECONDS ?? 5) // how often to look without a wake-up: for what had rested or was lost

const url = process.env.DATABASE_URL
const me = `${os.hostname()}:${process.pid}`

// Yours. What it writes with `client` is committed together with the ack, so it happens once; for what it does elsewhere,
// `id` is the key by which a repetition is known.
async function work (client, id, payload) {
  if (payload?.order === undefined) throw new TypeError('the payload has no order')
  await client.query('INSERT INTO shipment (message, order_number) VALUES ($1, $2)', [id, payload.order])
}

// Claim a message and work on it; return false if there was none.
async function workOnOne (pool, queue) {
  const { rows: [claim] } = await pool.query(
    'SELECT id, token, payload, codec FROM xclaim_claim($1, $2, lease => make_interval(secs => $3))', [queue, me, LEASE])
  if (!claim) return false
  const { id, token } = claim
  const extend = () => pool.query('SELECT xclaim_extend($1, $2, make_interval(secs => $3))', [id, token, LEASE])
  // An extension that fails is no reason to stop: if the claim is lost, the ack says so.
  const kept = setInterval(() => extend().catch(told(id)), LEASE * 1000 / 3)
  try {
    await inTransaction(pool, async client => {
      if (claim.codec) throw new TypeError(`only Python can read a payload with the codec ${claim.codec}`)
      await work(client, id, claim.payload)
      clearInterval(kept) // else an extension would wait for the ack, and find the claim gone
      await client.query('SELECT xclaim_ack($1, $2)', [id, token])
    })
    console.log(`${id} acked`)
  } catch (error) {
    told(id)(error)
    // Of a lost claim there is nothing to release: what was written is undone, and another worker has the message.
    if (error.code !== LOST) await release(pool, id, token, error).catch(told(id))
  } finally {
    clearInterval(kept)
  }
  return true
}

// If this fails as well, because the connection is gone say, the message comes back when its lease ends.
function release (pool, id, token, error) {
  return pool.query('SELECT xclaim_release($1, $2, error => $3, error_class => $4)', [id, token, String(error), error.name])
}

async function inTransaction (pool, write) {
  const client = await pool.connect()
  let failed
  try {
    await client.query('BEGIN')
    await write(client)
    await client.query('COMMIT')
  } catch (error) {
    failed = error
    await client.query('ROLLBACK').catch(() => {}) // what failed may be the connection
    throw error
  } finally {
    client.release(failed) // with an error: closed, and not used again
  }
}

const told = id => error => console.error(`${id} ${error.code ?? error.name}: ${error.message}`)

async function main (queue) {
  let wake = () => {}
  let isWoken = false
  let isStopping = false
  const wakeUp = () => { isWoken = true; wake() }
  const stop = () => { isStopping = true; wakeUp() }
  process.once('SIGTERM', stop).once('SIGINT', stop)

  const pool = new pg.Pool({ connectionString: url, max: 2 }) // one works, the other extends the lease
  pool.on('error', error => console.error(error.message)) // an idle connection broke: the next query has another
  const listener = new pg.Client({ connectionString: url }) // LISTEN needs a session: not behind a pooler that shares them
  listener.on('notification', ({ payload }) => { if (payload === queue) wakeUp() })
  listener.on('error', error => { throw error }) // ends this process, for its supervisor to start it anew
  await listener.connect()
  await listener.query('LISTEN xclaim')
  console.log(`${me} works on ${queue}`)

  while (!isStopping) {
    isWoken = false
    if (await workOnOne(pool, queue) || isWoken) continue
    const timer = setTimeout(wakeUp, LOOK * 1000)
    await new Promise(resolve => { wake = resolve })
    clearTimeout(timer)
  }
  await listener.end()
  await pool.end()
}

await main(process.argv[2])
