package varve.e2e;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;

/** Calls what only some client versions have, or have in another package. */
final class Reflect {
    private Reflect() {
    }

    static boolean has(Object target, String name) {
        for (Method m : target.getClass().getMethods()) {
            if (m.getName().equals(name)) {
                return true;
            }
        }
        return false;
    }

    /** Calls the public method of that name with so many parameters; text stands for a constant where one is asked for. */
    static Object call(Object target, String name, Object... args) throws Exception {
        for (Method m : target.getClass().getMethods()) {
            if (m.getName().equals(name) && m.getParameterTypes().length == args.length) {
                Object[] given = args.clone();
                for (int i = 0; i < given.length; i++) {
                    Class<?> wanted = m.getParameterTypes()[i];
                    if (wanted.isEnum()) {
                        given[i] = constant(wanted, String.valueOf(given[i]));
                    }
                }
                m.setAccessible(true);
                try {
                    return m.invoke(target, given);
                } catch (InvocationTargetException e) {
                    if (e.getCause() instanceof Exception) {
                        throw (Exception) e.getCause();
                    }
                    throw e;
                }
            }
        }
        throw new Scope.Skip("this client has no " + target.getClass().getSimpleName() + "." + name);
    }

    private static Object constant(Class<?> type, String name) {
        for (Object o : type.getEnumConstants()) {
            if (o.toString().equals(name)) {
                return o;
            }
        }
        throw new AssertionError("no " + type + " " + name);
    }
}
