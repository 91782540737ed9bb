// A worker in Java for a queue of xclaim, with the driver of PostgreSQL and nothing else:
//
//   JDBC_URL='jdbc:postgresql://localhost/shop?user=worker' java -cp postgresql.jar Worker.java orders
//
// It claims a message, works on it, and acks it in the transaction in which the work has written: both or neither. What
// is thrown is released and tried again after a growing pause. Many such workers may run, beside those in Python. When a
// connection breaks the process ends, for its supervisor to start it anew.

import java.net.InetAddress;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.UUID;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class Worker {
    static final String LOST = "XC001"; // the SQLSTATE of a claim that is no longer held
    static final double LEASE = seconds("LEASE_SECONDS", 300); // when a worker dies, its message comes back after this
    static final double LOOK = seconds("LOOK_SECONDS", 5); // how often to look without a wake-up: for what had rested or was lost

    record Claim(long id, UUID token, String payload, String codec) {}

    private final String queue;
    private final String me = InetAddress.getLocalHost().getHostName() + ":" + ProcessHandle.current().pid();
    private final Connection working = connect(); // commits each statement, but for the work and its ack
    private final Connection extending = connect(); // an extension cannot wait until the work has ended
    private final Connection listening = connect(); // LISTEN needs a session: not behind a pooler that shares them
    private final ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor(Worker::inBackground);
    private volatile boolean isStopping = false;

    // Yours. What it writes with `connection` is committed together with the ack, so it happens once; for what it does
    // elsewhere, `id` is the key by which a repetition is known. The payload is JSON: PostgreSQL reads it here, as would
    // any library.
    static void work(Connection connection, long id, String payload) throws Exception {
        String sql = """
            INSERT INTO shipment (message, order_number)
            SELECT ?, (payload ->> 'order')::integer FROM (SELECT ?::jsonb) AS given (payload)
             WHERE payload ->> 'order' IS NOT NULL
            """;
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setLong(1, id);
            statement.setString(2, payload);
            if (statement.executeUpdate() == 0) throw new IllegalArgumentException("the payload has no order");
        }
    }

    // Claim a message and work on it; return false if there was none.
    boolean workOnOne() throws SQLException {
        Claim claim = claim();
        if (claim == null) return false;
        long third = Math.round(LEASE * 1000 / 3);
        var kept = clock.scheduleAtFixedRate(() -> extend(claim), third, third, TimeUnit.MILLISECONDS);
        working.setAutoCommit(false);
        try {
            if (claim.codec != null)
                throw new IllegalArgumentException("only Python can read a payload with the codec " + claim.codec);
            work(working, claim.id, claim.payload);
            kept.cancel(false); // else an extension would wait for the ack, and find the claim gone
            run(working, "SELECT xclaim_ack(?, ?)", claim.id, claim.token);
            working.commit();
            System.out.println(claim.id + " acked");
        } catch (Exception error) {
            tell(claim, error);
            working.rollback();
            working.setAutoCommit(true);
            // Of a lost claim there is nothing to release: what was written is undone, and another worker has the message.
            if (!(error instanceof SQLException failed && LOST.equals(failed.getSQLState()))) release(claim, error);
        } finally {
            kept.cancel(false);
            working.setAutoCommit(true);
        }
        return true;
    }

    // A claim is committed before the work begins: else the attempts of what kills its worker would not be counted.
    Claim claim() throws SQLException {
        String sql = "SELECT id, token, payload, codec FROM xclaim_claim(?, ?, lease => make_interval(secs => ?))";
        try (PreparedStatement statement = prepared(working, sql, queue, me, LEASE); var rows = statement.executeQuery()) {
            if (!rows.next()) return null;
            return new Claim(rows.getLong(1), rows.getObject(2, UUID.class), rows.getString(3), rows.getString(4));
        }
    }

    // An extension that fails is no reason to stop: if the claim is lost, the ack says so.
    void extend(Claim claim) {
        try {
            run(extending, "SELECT xclaim_extend(?, ?, make_interval(secs => ?))", claim.id, claim.token, LEASE);
        } catch (SQLException error) {
            tell(claim, error);
        }
    }

    // If this fails as well, because the connection is gone say, the message comes back when its lease ends.
    void release(Claim claim, Exception error) {
        try {
            String sql = "SELECT xclaim_release(?, ?, error => ?, error_class => ?)";
            run(working, sql, claim.id, claim.token, error.toString(), error.getClass().getSimpleName());
        } catch (SQLException failed) {
            tell(claim, failed);
        }
    }

    // Wait for a push to the queue, or until it is time to look, or to stop.
    void waitForOne() throws SQLException {
        long until = System.nanoTime() + Math.round(LOOK * 1e9);
        while (!isStopping && System.nanoTime() < until) {
            PGNotification[] told = listening.unwrap(PGConnection.class).getNotifications(200); // milliseconds
            if (told == null) continue;
            for (PGNotification each : told) if (each.getParameter().equals(queue)) return;
        }
    }

    Worker(String queue) throws Exception {
        this.queue = queue;
    }

    void workUntilStopped() throws SQLException {
        run(listening, "LISTEN xclaim");
        System.out.println(me + " works on " + queue);
        while (!isStopping) if (!workOnOne()) waitForOne();
    }

    static Connection connect() throws SQLException {
        return DriverManager.getConnection(System.getenv("JDBC_URL"));
    }

    static PreparedStatement prepared(Connection connection, String sql, Object... values) throws SQLException {
        PreparedStatement statement = connection.prepareStatement(sql);
        for (int place = 0; place < values.length; place++) statement.setObject(place + 1, values[place]);
        return statement;
    }

    static void run(Connection connection, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = prepared(connection, sql, values)) {
            statement.execute();
        }
    }

    static void tell(Claim claim, Exception error) {
        String code = error instanceof SQLException failed ? failed.getSQLState() : error.getClass().getSimpleName();
        System.err.println(claim.id + " " + code + ": " + error.getMessage());
    }

    static double seconds(String variable, double otherwise) {
        String given = System.getenv(variable);
        return given == null ? otherwise : Double.parseDouble(given);
    }

    static Thread inBackground(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        return thread;
    }

    public static void main(String[] names) throws Exception {
        Worker worker = new Worker(names[0]);
        Thread main = Thread.currentThread();
        // A supervisor that stops it waits until the message in hand is done.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            if (worker.isStopping || !main.isAlive()) return;
            worker.isStopping = true;
            try {
                main.join();
            } catch (InterruptedException again) {
                return;
            }
            Runtime.getRuntime().halt(0);
        }));
        worker.workUntilStopped();
    }
}
