import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.cloud.config.server.EnableConfigServer;
import org.springframework.context.annotation.Configuration;

/** The Config Server as it comes; what differs from its defaults stands in requests.json. */
@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
@EnableConfigServer
public class ConfigServer {
	public static void main(String[] arguments) {
		SpringApplication.run(ConfigServer.class, arguments);
	}
}
