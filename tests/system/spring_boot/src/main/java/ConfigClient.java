import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.env.Environment;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** An application that says what its configuration is; which server it has it from, its command line says. */
@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
@RestController
public class ConfigClient {
	private final Environment environment;

	ConfigClient(Environment environment) {
		this.environment = environment;
	}

	@GetMapping("/value")
	String value(@RequestParam("of") String key) {
		return environment.getProperty(key, "");
	}

	public static void main(String[] arguments) {
		SpringApplication.run(ConfigClient.class, arguments);
	}
}
