import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs many command-line tools inside one JVM, because starting a JVM costs more than most tools do.
 *
 * <p>Requests come on stdin, answers go to stdout, both framed. A tool sees its own stdin, stdout and stderr: the thread that
 * runs it (and every thread it starts) carries a {@link Call}, and the process-wide streams look it up. A tool's exit ends
 * its call, not the JVM.
 *
 * <p>Request: int id, byte kind; kind 0 (run): UTF "Main|OtherMain", int count and UTF arguments, int size and bytes of stdin;
 * kind 1 (stop): runs the shutdown hooks that the tool registered, as SIGTERM would.
 * Answer: int id, byte kind (1 stdout, 2 stderr: int size and bytes; 3 exit: int code).
 */
public final class ToolHost {
    private static final InheritableThreadLocal<Call> CURRENT = new InheritableThreadLocal<>();
    private static final Map<Integer, Call> CALLS = new ConcurrentHashMap<>();
    private static final DataOutputStream ANSWERS =
        new DataOutputStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16));

    /** Thrown where a tool asked to exit, so that its thread ends. */
    private static final class ExitCalled extends Error {
        ExitCalled() {
            super("exit", null, false, false);
        }
    }

    private static final class Call {
        final int id;
        final ThreadGroup group;
        final InputStream stdin;
        final AtomicBoolean done = new AtomicBoolean();
        final AtomicBoolean ending = new AtomicBoolean();
        final List<Runnable> hooks = new CopyOnWriteArrayList<>();

        Call(int id, byte[] stdin) {
            this.id = id;
            this.group = new ThreadGroup("call-" + id);
            this.stdin = new ByteArrayInputStream(stdin);
        }

        void write(int kind, byte[] bytes, int offset, int size) {
            synchronized (ANSWERS) {
                if (done.get()) {
                    return;
                }
                try {
                    ANSWERS.writeInt(id);
                    ANSWERS.writeByte(kind);
                    ANSWERS.writeInt(size);
                    ANSWERS.write(bytes, offset, size);
                    ANSWERS.flush();
                } catch (IOException gone) {
                    Runtime.getRuntime().halt(3);
                }
            }
        }

        void exit(int code) {
            synchronized (ANSWERS) {
                if (!done.compareAndSet(false, true)) {
                    return;
                }
                CALLS.remove(id);
                try {
                    ANSWERS.writeInt(id);
                    ANSWERS.writeByte(3);
                    ANSWERS.writeInt(code);
                    ANSWERS.flush();
                } catch (IOException gone) {
                    Runtime.getRuntime().halt(3);
                }
            }
        }

        /** What the end of a process does: the hooks run beside the thread that asked for it, then the output is closed. */
        void end(int code) {
            if (!ending.compareAndSet(false, true)) {
                return;
            }
            runHooks();
            System.out.flush();
            exit(code);
        }

        /** A few tools register with the JVM itself, whose list is private (opened to us on the command line). */
        @SuppressWarnings("unchecked")
        private static List<Thread> registeredWithTheJvm() {
            try {
                Field hooks = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
                hooks.setAccessible(true);
                return new ArrayList<>(((Map<Thread, Thread>) hooks.get(null)).keySet());
            } catch (ReflectiveOperationException absent) {
                throw new IllegalStateException(absent);
            }
        }

        /** Each hook on a thread of its own, as a JVM runs them; they get the time that an impatient operator would give. */
        void runHooks() {
            List<Thread> running = new ArrayList<>();
            for (Thread hook : registeredWithTheJvm()) {
                if (hook.getThreadGroup() == group && Runtime.getRuntime().removeShutdownHook(hook)) {
                    hook.setDaemon(true);
                    hook.start();
                    running.add(hook);
                }
            }
            for (Runnable hook : hooks) {
                hooks.remove(hook);
                Thread thread = new Thread(() -> {
                    CURRENT.set(this);
                    hook.run();
                });
                thread.setDaemon(true);
                thread.setUncaughtExceptionHandler((failed, error) -> { });
                thread.start();
                running.add(thread);
            }
            for (Thread thread : running) {
                try {
                    thread.join(20_000);
                } catch (InterruptedException stop) {
                    Thread.currentThread().interrupt();
                }
            }
        }
    }

    private static final class CallStream extends OutputStream {
        private final int kind;

        CallStream(int kind) {
            this.kind = kind;
        }

        @Override
        public void write(int b) {
            write(new byte[] {(byte) b}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int size) {
            Call call = CURRENT.get();
            if (call != null && size > 0) {
                call.write(kind, bytes, offset, size);
            }
        }
    }

    private static final class CallInput extends InputStream {
        private InputStream current() {
            Call call = CURRENT.get();
            return call == null ? InputStream.nullInputStream() : call.stdin;
        }

        @Override
        public int read() throws IOException {
            return current().read();
        }

        @Override
        public int read(byte[] bytes, int offset, int size) throws IOException {
            return current().read(bytes, offset, size);
        }

        @Override
        public int available() throws IOException {
            return current().available();
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.setOut(new PrintStream(new CallStream(1), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new CallStream(2), true, StandardCharsets.UTF_8));
        System.setIn(new CallInput());
        Exit.setExitProcedure((code, message) -> leave(code, message));
        Exit.setHaltProcedure((code, message) -> leave(code, message));
        Exit.setShutdownHookAdder((name, hook) -> {
            Call call = CURRENT.get();
            if (call != null) {
                call.hooks.add(hook);
            }
        });
        DataInputStream requests = new DataInputStream(new BufferedInputStream(new java.io.FileInputStream(FileDescriptor.in)));
        try {
            while (true) {
                int id = requests.readInt();
                if (requests.readByte() == 1) {
                    Call call = CALLS.get(id);
                    if (call != null) {
                        start(call, call::runHooks);
                    }
                    continue;
                }
                String mains = requests.readUTF();
                String[] args = new String[requests.readInt()];
                for (int i = 0; i < args.length; i++) {
                    args[i] = requests.readUTF();
                }
                byte[] stdin = new byte[requests.readInt()];
                requests.readFully(stdin);
                Call call = new Call(id, stdin);
                CALLS.put(id, call);
                start(call, () -> run(call, mains, args));
            }
        } catch (EOFException closed) {
            Runtime.getRuntime().halt(0);
        }
    }

    private static void start(Call call, Runnable body) {
        Thread thread = new Thread(call.group, () -> {
            CURRENT.set(call);
            body.run();
        });
        thread.setDaemon(true);
        thread.start();
    }

    private static void leave(int code, String message) {
        Call call = CURRENT.get();
        if (call != null) {
            if (message != null) {
                System.err.println(message);
            }
            call.end(code);
        }
        throw new ExitCalled();
    }

    private static void run(Call call, String mains, String[] args) {
        int code = 0;
        try {
            find(mains).getMethod("main", String[].class).invoke(null, (Object) args);
            code = waitForThreads();
        } catch (InvocationTargetException thrown) {
            if (!(thrown.getCause() instanceof ExitCalled)) {
                System.out.flush();
                System.err.print("Exception in thread \"main\" ");
                thrown.getCause().printStackTrace();
                code = 1;
            }
        } catch (ReflectiveOperationException wrong) {
            wrong.printStackTrace();
            code = 127;
        }
        call.end(code);
    }

    /** A JVM ends when its last non-daemon thread does; so does a call. */
    private static int waitForThreads() {
        ThreadGroup group = Thread.currentThread().getThreadGroup();
        while (true) {
            Thread[] threads = new Thread[group.activeCount() + 8];
            int count = group.enumerate(threads);
            boolean alive = false;
            for (int i = 0; i < count; i++) {
                if (threads[i] != Thread.currentThread() && !threads[i].isDaemon() && threads[i].isAlive()) {
                    alive = true;
                }
            }
            if (!alive) {
                return 0;
            }
            try {
                Thread.sleep(10);
            } catch (InterruptedException stop) {
                return 130;
            }
        }
    }

    /** Loads the tools themselves anew for every call: some of them count in static fields. The client library is shared. */
    private static final class ToolLoader extends URLClassLoader {
        private static final URL[] CLASS_PATH = Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
            .map(ToolLoader::url).toArray(URL[]::new);

        ToolLoader() {
            super(CLASS_PATH, ToolHost.class.getClassLoader());
        }

        private static URL url(String path) {
            try {
                return new File(path).toURI().toURL();
            } catch (MalformedURLException wrong) {
                throw new IllegalStateException(wrong);
            }
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            if (!name.startsWith("org.apache.kafka.tools.") && !name.startsWith("kafka.admin.")) {
                return super.loadClass(name, resolve);
            }
            synchronized (getClassLoadingLock(name)) {
                Class<?> loaded = findLoadedClass(name);
                return loaded != null ? loaded : findClass(name);
            }
        }
    }

    private static Class<?> find(String mains) throws ClassNotFoundException {
        ClassLoader loader = new ToolLoader();
        // Consoles load formatters and readers by name through the thread's loader.
        Thread.currentThread().setContextClassLoader(loader);
        ClassNotFoundException missing = null;
        for (String name : mains.split("\\|")) {
            try {
                return Class.forName(name, true, loader);
            } catch (ClassNotFoundException absent) {
                missing = absent;
            }
        }
        throw missing;
    }
}
