import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.function.Function;

/** The peer on the JDK's own HttpClient: {@code java Peer.java client URL}. */
public class Peer {
    static final HttpClient HTTP = HttpClient.newHttpClient();
    static final Map<String, String> ENDED = new ConcurrentHashMap<>();
    static final CountDownLatch DONE = new CountDownLatch(1);

    public static void main(String[] args) throws Exception {
        connect(args[1]);
        DONE.await();
        System.exit(0);
    }

    static void connect(String url) {
        String name = url.substring(url.lastIndexOf('/') + 1);
        HTTP.newWebSocketBuilder().buildAsync(URI.create(url), new Connection(name)).exceptionally(error -> {
            System.err.println(url + ": " + error);
            return null;
        });
    }

    static class Connection implements WebSocket.Listener {
        final String name;
        final StringBuilder text = new StringBuilder();
        final ByteArrayOutputStream data = new ByteArrayOutputStream();
        /** What is sent waits for what was sent before, as the interface demands. */
        CompletableFuture<WebSocket> sent = CompletableFuture.completedFuture(null);
        boolean inParts;
        String pinged;

        Connection(String name) {
            this.name = name;
        }

        @Override
        public CompletionStage<?> onText(WebSocket ws, CharSequence part, boolean last) {
            text.append(part);
            if (last) {
                String message = text.toString();
                text.setLength(0);
                onMessage(ws, message);
            }
            ws.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onBinary(WebSocket ws, ByteBuffer part, boolean last) {
            byte[] bytes = new byte[part.remaining()];
            part.get(bytes);
            data.writeBytes(bytes);
            if (last) {
                ByteBuffer message = ByteBuffer.wrap(data.toByteArray());
                data.reset();
                if (inParts) {
                    inParts = false;
                    int step = message.remaining() / 4 + 1;
                    for (int at = 0; at < message.limit(); at += step) {
                        int end = Math.min(at + step, message.limit());
                        ByteBuffer slice = message.duplicate().position(at).limit(end);
                        then(before -> ws.sendBinary(slice, end == message.limit()));
                    }
                } else {
                    then(before -> ws.sendBinary(message, true));
                }
            }
            ws.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onPong(WebSocket ws, ByteBuffer payload) {
            String answered = StandardCharsets.UTF_8.decode(payload).toString();
            if (answered.equals(pinged)) {
                pinged = null;
                then(before -> ws.sendText("pong " + answered, true));
            }
            ws.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket ws, int code, String reason) {
            end(code + " " + reason);
            return null;
        }

        @Override
        public void onError(WebSocket ws, Throwable error) {
            System.err.println(name + ": " + error);
            end("1006 " + error);
        }

        void end(String said) {
            ENDED.put(name, said);
            if (name.equals("control")) {
                DONE.countDown();
            }
        }

        void onMessage(WebSocket ws, String message) {
            if (name.equals("control")) {
                onOrder(ws, split(message));
            } else if (message.startsWith("cmd:")) {
                onCommand(ws, split(message.substring(4)));
            } else if (inParts) {
                inParts = false;
                int step = message.length() / 4 + 1;
                for (int at = 0; at < message.length(); at += step) {
                    int end = Math.min(at + step, message.length());
                    String part = message.substring(at, end);
                    then(before -> ws.sendText(part, end == message.length()));
                }
            } else {
                then(before -> ws.sendText(message, true));
            }
        }

        void onOrder(WebSocket ws, String[] order) {
            switch (order[0]) {
                case "open" -> connect(order[1]);
                case "closed" -> then(before -> ws.sendText(ENDED.getOrDefault(order[1], "open"), true));
                case "version" -> then(before -> ws.sendText(System.getProperty("java.version"), true));
            }
        }

        void onCommand(WebSocket ws, String[] order) {
            switch (order[0]) {
                case "ping" -> {
                    pinged = order[1];
                    ByteBuffer payload = StandardCharsets.UTF_8.encode(pinged);
                    then(before -> ws.sendPing(payload));
                }
                case "close" -> {
                    String[] close = split(order[1]);
                    then(before -> ws.sendClose(Integer.parseInt(close[0]), close[1]));
                }
                case "parts" -> inParts = true;
            }
        }

        void then(Function<WebSocket, CompletableFuture<WebSocket>> send) {
            sent = sent.thenCompose(send);
        }
    }

    static String[] split(String text) {
        int at = text.indexOf(' ');
        return at < 0 ? new String[] {text, ""} : new String[] {text.substring(0, at), text.substring(at + 1)};
    }
}
