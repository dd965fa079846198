import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.util.Base64;
import org.springframework.security.crypto.encrypt.Encryptors;
import org.springframework.security.crypto.encrypt.RsaAlgorithm;
import org.springframework.security.crypto.encrypt.RsaSecretEncryptor;

/** Prints, as JSON, what Spring's own encryptors make of a few texts, under a fresh RSA key. */
public class Record {
    static final String[] TEXTS = {"", "mysecret", "sixteen bytes 16", "gr\u00fc\u00df \u20ac", "x".repeat(1000)};

    public static void main(String[] args) throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
        generator.initialize(2048);
        KeyPair pair = generator.generateKeyPair();
        String pem = "-----BEGIN PRIVATE KEY-----\\n"
                + Base64.getMimeEncoder(64, "\n".getBytes()).encodeToString(pair.getPrivate().getEncoded())
                        .replace("\n", "\\n")
                + "\\n-----END PRIVATE KEY-----\\n";
        StringBuilder out = new StringBuilder("{\n  \"private_key\": \"" + pem + "\",\n  \"vectors\": [");
        String comma = "";
        for (String salt : new String[] {"deadbeef", "0123456789abcdef"}) {
            for (String text : TEXTS) {
                out.append(comma).append(row("aes", salt, false, text, Encryptors.text("foo", salt).encrypt(text)));
                comma = ",";
                for (RsaAlgorithm algorithm : RsaAlgorithm.values()) {
                    for (boolean strong : new boolean[] {false, true}) {
                        String cipher = new RsaSecretEncryptor(pair, algorithm, salt, strong).encrypt(text);
                        out.append(comma).append(row(algorithm.name().toLowerCase(), salt, strong, text, cipher));
                    }
                }
            }
        }
        System.out.println(out.append("\n  ]\n}"));
    }

    static String row(String form, String salt, boolean strong, String text, String cipher) {
        return "\n    {\"form\": \"" + form + "\", \"salt\": \"" + salt + "\", \"strong\": " + strong + ", \"text\": \""
                + text + "\", \"cipher\": \"" + cipher + "\"}";
    }
}
